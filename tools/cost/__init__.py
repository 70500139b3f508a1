# SPDX-License-Identifier: Apache-2.0
"""What a chunk costs, by sampler."""
