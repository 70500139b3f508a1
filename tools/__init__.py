# SPDX-License-Identifier: Apache-2.0
"""What measures and attacks the package; used from a checkout, never installed."""
