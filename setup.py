# SPDX-License-Identifier: Apache-2.0
"""Installs the parts that need no ROS 2; setup.cfg says what. Messages and nodes are built by CMakeLists.txt."""

from setuptools import setup

setup()
