# SPDX-License-Identifier: Apache-2.0
"""Installs what needs no ROS 2, as setup.cfg says. CMakeLists.txt builds messages and nodes."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import setup

manifest = Path(__file__).resolve().parent / 'package.xml'
setup(version=ElementTree.parse(manifest).findtext('version'))
