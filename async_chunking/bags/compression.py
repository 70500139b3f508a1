# SPDX-License-Identifier: Apache-2.0
"""Zstandard: part of Python since 3.14, of its backport before."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ['zstd']
