# SPDX-License-Identifier: Apache-2.0
"""Quality of service that several nodes offer or ask for."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""The newest message is kept for those who come later."""
