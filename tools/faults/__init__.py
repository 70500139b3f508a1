# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, done on purpose to a running robot, and what became of its stream."""
