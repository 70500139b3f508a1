# SPDX-License-Identifier: Apache-2.0
"""The regression guard, with the shipped policy: the strategies rank as they should."""

from __future__ import annotations

import pytest
from rich.console import Console

from async_chunking.bench.workers import cores
from tools.smoke import failures


@pytest.mark.slow
def test_strategies_rank_as_they_should() -> None:
    assert failures(cores(), Console(quiet=True)) == []
