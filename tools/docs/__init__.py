# SPDX-License-Identifier: Apache-2.0
"""What in the documents is written by the code."""
