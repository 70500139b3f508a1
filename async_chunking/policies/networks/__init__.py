# SPDX-License-Identifier: Apache-2.0
"""Networks that this package trains, and the normalisation around them."""
