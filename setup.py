# SPDX-License-Identifier: Apache-2.0
"""Installs what needs no ROS 2, as setup.cfg says. CMakeLists.txt builds messages and nodes."""

from setuptools import setup

setup()
