# SPDX-License-Identifier: Apache-2.0
"""A running robot as it is watched: what was executed, and the plans that meet at a seam."""
