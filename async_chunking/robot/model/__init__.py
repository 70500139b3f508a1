# SPDX-License-Identifier: Apache-2.0
"""A first description of a robot from its model: what URDF and MJCF say of joints."""
