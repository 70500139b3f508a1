# SPDX-License-Identifier: Apache-2.0
"""What is added to an action as observations arrive: one file per corrector, numpy only."""

from async_chunking.correctors.base import Corrector

__all__ = ['Corrector']
