# SPDX-License-Identifier: Apache-2.0
"""What a robot is: joints and limits, topics and units, and what a policy's numbers mean."""
