# SPDX-License-Identifier: Apache-2.0
"""What `up` returns when it is stopped before anything was recorded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip('rosbags')

from driver_messages import numbers, record
from rich.console import Console

from async_chunking.bringup import up


def test_a_recording_without_a_run_has_no_figures(tmp_path: Path, monkeypatch) -> None:
    bag = tmp_path / 'bag'

    def watched(*_: object) -> tuple[SimpleNamespace, str, dict[str, int]]:
        record(bag, [(0.0, '/forward_position_controller/commands', numbers(*[0.0] * 7))])
        return (
            SimpleNamespace(ticks=9, spans={}),
            '',
            {},
        )  # Ticks that were seen; none of them reached the recording.

    monkeypatch.setattr(up, '_watch', watched)
    assert up.run('viperx', {'record': str(bag)}, Console(), lambda: True) == {}


@pytest.mark.parametrize(
    ('recorded', 'lacking'),
    [
        ({7: (0, 99)}, 0),
        ({7: (10, 99)}, 0),
        ({7: (0, 89)}, 10),
        ({7: (15, 94)}, 10),  # Five at each end.
        ({8: (0, 99)}, 90),
        ({}, 90),
    ],
)
def test_what_was_seen_and_not_recorded_is_counted(recorded, lacking: int) -> None:
    assert up.unrecorded_ticks({7: (10, 99)}, recorded) == lacking
