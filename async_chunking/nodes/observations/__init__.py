# SPDX-License-Identifier: Apache-2.0
"""What is observed of a robot, from its topics."""
