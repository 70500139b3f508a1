# SPDX-License-Identifier: Apache-2.0
"""Where noise acts, on policies of which it is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from analytic import Analytic, Gaussian, Linear
from test_environments import HERE, described_in
from torch import Tensor
from typer.testing import CliRunner

from async_chunking.bench.probe import Influence, influence
from async_chunking.bench.probe_command import drawing, figure, probe, summary
from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.base import FlowPolicy

OBSERVATION = {'observation.state': torch.zeros(4, 2)}


class FromNeighbour(Analytic):
    """Every action row is the noise of the row before it: v = shift(noise) - noise at t = 0."""

    def flow(self, x: Tensor, time: Tensor, state: Tensor) -> Tensor:
        return x.roll(1, 1) - x


def measured(policy: Analytic, num_steps: int = 0) -> Influence:
    return influence(policy, OBSERVATION, torch.Generator().manual_seed(0), num_steps)


def test_rows_that_do_not_mix() -> None:
    """v = 0: the chunk is the noise; a row drawn anew changes it by sqrt(2) RMS, and no other."""
    probed = measured(Linear(0.0))
    assert probed.matrix == pytest.approx(np.sqrt(2) * np.eye(8), abs=0.5)
    assert not probed.matrix[~np.eye(8, dtype=bool)].any()
    assert probed.within(0) == 1
    assert probed.prefix(3) == 1


def test_action_rows_go_down_and_noise_rows_across() -> None:
    probed = measured(FromNeighbour(), num_steps=1)
    assert probed.matrix.argmax(1).tolist() == [7, 0, 1, 2, 3, 4, 5, 6]
    assert probed.within(0) == pytest.approx(0)
    assert probed.within(1) == pytest.approx(7 / 8)
    assert probed.prefix(1) == pytest.approx(0)


def test_smooth_chunks_mix_more() -> None:
    locality = [measured(Gaussian(width)).within(1) for width in (0.5, 1.5, 4.0)]
    assert locality == sorted(locality, reverse=True)


def test_uniform_is_the_share_of_the_band() -> None:
    influence = Influence(np.eye(8))
    assert influence.uniform(0) == pytest.approx(1 / 8)
    assert influence.uniform(1) == pytest.approx((6 * 3 + 2 * 2) / 64)
    assert Influence(np.full((8, 8), 0.2)).prefix(2) == pytest.approx(2 / 8)


def test_drawing_and_words(tmp_path: Path) -> None:
    influence = Influence(np.diag([4.0, 2.0, 1.0, 4.0]))
    lines = drawing(influence).splitlines()
    assert lines[1:] == ['  0 ██      ', '  1   ▒▒    ', '  2     ░░  ', '  3       ██']
    assert summary(influence)[0].startswith(' 100% of what moves an action row is noise within ±0')
    long = drawing(Influence(np.eye(50))).splitlines()
    assert len(long) == 1 + 25
    assert [int(line.split()[0]) for line in long[1:3]] == [0, 2]
    figure(influence, 'a policy', tmp_path / 'probe.png')
    assert (tmp_path / 'probe.png').read_bytes().startswith(b'\x89PNG')


# --- any policy, any environment ----------------------------------------------------------------


def probed(*words: str) -> str:
    app = typer.Typer()
    app.command()(probe)
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return ' '.join(result.output.split())


class Still(FlowPolicy):
    """Its chunk is its noise, so that no row moves another."""

    horizon, action_dim, num_steps = 4, 2, 1

    def encode(self, observation: dict) -> Tensor:
        assert observation['observation.state'].dtype == torch.float32
        return observation['observation.state']

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Tensor) -> Tensor:
        return torch.zeros_like(actions)


def still(path: str) -> Still:
    return Still()


def test_a_policy_of_any_kind_is_probed_in_an_environment(tmp_path: Path) -> None:
    words = (f'torch:{Path(__file__)}:still', '--observations', '4', '--env')
    plain = probed(*words, described_in(tmp_path))
    assert 'the beginnings of 32 episodes of' in plain
    assert '100% of what moves an action row is noise within ±0 rows' in plain
    expert = probed(*words, described_in(tmp_path, expert='toy_environments:expert'))
    assert 'demonstrations of' in expert


def test_what_has_no_noise_or_no_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AsyncChunkingError, match='no velocity: there is no noise to probe'):
        probed(f'{HERE}:push', '--env', described_in(tmp_path))
    with pytest.raises(AsyncChunkingError, match='does not know its environment'):
        probed(f'{HERE}:push')
