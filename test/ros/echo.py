# SPDX-License-Identifier: Apache-2.0
"""A process that sends back whatever arrives; the types of message are its arguments."""

import sys
from contextlib import suppress

import rclpy
from rclpy.executors import ExternalShutdownException

import async_chunking.msg

rclpy.init()
node = rclpy.create_node('echo')
for name in sys.argv[1:]:
    kind = getattr(async_chunking.msg, name)
    publisher = node.create_publisher(kind, f'back/{name}', 10)
    node.create_subscription(kind, f'there/{name}', publisher.publish, 10)
with suppress(KeyboardInterrupt, ExternalShutdownException):
    rclpy.spin(node)
