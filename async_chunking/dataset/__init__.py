# SPDX-License-Identifier: Apache-2.0
"""Demonstrations on disk: one form, that of LeRobotDataset v3, read, written, made from bags."""
