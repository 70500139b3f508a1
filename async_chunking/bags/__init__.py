# SPDX-License-Identifier: Apache-2.0
"""Recordings: written while a robot runs, read without ROS 2, and turned into tables and plots."""
