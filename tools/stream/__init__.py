# SPDX-License-Identifier: Apache-2.0
"""How steady the command stream is, beside other ways to make one."""
