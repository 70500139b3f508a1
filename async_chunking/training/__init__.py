# SPDX-License-Identifier: Apache-2.0
"""How policies are trained: one file per recipe, around one loop."""
