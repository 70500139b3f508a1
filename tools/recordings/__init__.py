# SPDX-License-Identifier: Apache-2.0
"""Recordings made by simulation, and how fast they are read."""
