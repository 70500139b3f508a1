# SPDX-License-Identifier: Apache-2.0
"""What `up` returns when it is stopped before anything was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rosbags')

from driver_messages import numbers, record
from rich.console import Console

from async_chunking.bringup import up


def test_a_recording_without_a_run_has_no_figures(tmp_path: Path, monkeypatch) -> None:
    bag = tmp_path / 'bag'

    def watched(*_: object) -> tuple[int, str]:
        record(bag, [(0.0, '/forward_position_controller/commands', numbers(*[0.0] * 7))])
        return 9, ''  # Ticks that were seen; none of them reached the recording.

    monkeypatch.setattr(up, '_watch', watched)
    assert up.run('viperx', {'record': str(bag)}, Console(), lambda: True) == {}
