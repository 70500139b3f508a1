# SPDX-License-Identifier: Apache-2.0
"""Policies behind a server."""
