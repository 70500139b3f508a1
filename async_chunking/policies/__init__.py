# SPDX-License-Identifier: Apache-2.0
"""Policies behind one interface: `FlowPolicy` and its backends."""
