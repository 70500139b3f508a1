# SPDX-License-Identifier: Apache-2.0
"""Closed-loop bench: which strategy to use at which delay, on simulated time."""
