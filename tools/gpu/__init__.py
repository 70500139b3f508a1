# SPDX-License-Identifier: Apache-2.0
"""Every CUDA path of the package, in one run of a few minutes."""
