# SPDX-License-Identifier: Apache-2.0
"""Start a robot: which processes with which parameters, from launch files or one command."""
