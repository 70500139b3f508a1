# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of this package: weights, what they say about themselves, folders of them."""
