# SPDX-License-Identifier: Apache-2.0
"""Schedulers of other packages as players of the bench: their own classes drive the robot."""
