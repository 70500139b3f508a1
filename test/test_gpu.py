# SPDX-License-Identifier: Apache-2.0
"""`python -m tools gpu` on the CPU: what is wrong ends it with 1, other checks still run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import typer

from tools.gpu import checks, command
from tools.gpu.checks import CheckResult


def test_a_sampler_and_itself_are_near_and_two_samplers_are_not() -> None:
    subject = checks.expert_of('cpu')
    plain, rtc = (checks.drawn(subject, name) for name in ('plain', 'rtc'))
    assert checks.near('sampler', 'plain', checks.drawn(subject, 'plain'), plain, 1e-3).good
    assert checks.near('sampler', 'rtc', rtc, plain, 1e-3).good is False


def test_a_check_that_fails_is_a_row_and_ends_it_with_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(device: torch.device, rounds: int) -> Iterator[CheckResult]:
        yield CheckResult('samplers', 'one', 'differs by 0', True)
        raise RuntimeError('out of memory')

    def whole(device: torch.device, rounds: int) -> Iterator[CheckResult]:
        yield CheckResult('graphs', 'one', f'{rounds} rounds', None)

    monkeypatch.setattr(checks, 'samplers', broken)
    monkeypatch.setattr(checks, 'graphs', whole)
    with pytest.raises(typer.Exit) as ended:
        command.gpu(device='cpu', rounds=3, only='samplers,graphs', seconds=60.0)
    assert ended.value.exit_code == 1
    shown = capsys.readouterr().out
    assert '| samplers | stopped | RuntimeError: out of memory | NO |' in shown
    assert '| graphs | one | 3 rounds |  |' in shown
    command.gpu(device='cpu', rounds=3, only='graphs', seconds=60.0)
