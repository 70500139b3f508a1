# SPDX-License-Identifier: Apache-2.0
"""
Schedulers of other packages in our loop: each sends what it is known to send.

Chunk n holds 100 n + row in every row, so that a command tells whose row it is. What needs a
package is skipped without it: `make test-peers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import bench_toy
import numpy as np
import pytest
import torch
from tools_command import invoke

from async_chunking.bench.delays import DelayModel
from async_chunking.bench.rollout import Question, Seed, play
from async_chunking.bench.rows import SCHEMA, Row
from async_chunking.chunk import Boundary
from async_chunking.errors import AsyncChunkingError
from async_chunking.executor import ExecutorConfig, Phase
from async_chunking.metrics import summarize
from async_chunking.metrics.record import Run
from async_chunking.safety import Limits
from async_chunking.samplers.base import sample_chunk
from async_chunking.strategies import resolve
from tools.peers.loop import ChunkWanted, PeerRun
from tools.peers.players import PEERS, peer_of
from tools.peers.table import leaders, side_by_side

H, S, TICKS = 8, 4, 20
FREE = Limits([-1e4] * 2, [1e4] * 2, [np.inf] * 2, [np.inf] * 2)
NOTHING = np.nan


class Standing:
    """Whatever is sent, nothing happens; the robot turns a little each tick."""

    def reset(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        self.ticks, self.sent = 0, []
        return self._seen()

    def step(self, command: np.ndarray) -> tuple[dict[str, np.ndarray], bool, bool]:
        self.ticks += 1
        self.sent.append(command)
        return self._seen(), self.ticks == TICKS, False

    def _seen(self) -> dict[str, np.ndarray]:
        return {'observation.state': np.full(2, 0.1 * self.ticks)}


class Numbered:
    """Answers request n with rows 100 n + row; notes when each observation was made."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def answer(self, questions: Sequence[Question]) -> None:
        for question in questions:
            state = question.loop.observation['observation.state'][0]
            self.seen.append(round(state / 0.1))
            rows = 100.0 * question.request.request_id + np.arange(H)
            question.loop.take(question, np.stack([rows] * 2, axis=1), None, 1)


def played(
    make: Callable[[ExecutorConfig], Any], delay: int, gated: bool = False
) -> tuple[np.ndarray, Run, list[int]]:
    """Return what was sent in each tick, NaN for nothing; the record; the observations' ticks."""
    config = ExecutorConfig(FREE, ('x', 'y'), H, S, control_rate_hz=50.0, policy_rate_hz=50.0)
    seed, server = Seed(0, 0), Numbered()
    delays = DelayModel(delay).draws(H, S, seed.rng(1))
    loop = PeerRun(Standing(), config, make(config), delays, seed, gated=gated)
    (run,) = play([loop], server)
    return run.planned[:, 0], run, server.seen


def peer(name: str) -> Callable[[ExecutorConfig], Any]:
    entry = PEERS[name]
    module = {'lerobot': 'lerobot', 'openpi-client': 'openpi_client'}[entry.package]
    pytest.importorskip(module, reason=f'{entry.package} is not installed: make test-peers')
    if 'client' in entry.peer:
        pytest.importorskip('grpc', reason='grpcio is not installed: make test-peers')
    return entry.loaded()


def rows(chunk: int, first: int, last: int) -> list[float]:
    return [100.0 * chunk + row for row in range(first, last + 1)]


# --- without any package -------------------------------------------------------------------------


class EverySecond:
    """Asks at every tick when idle, sends row 0 at once."""

    def __init__(self, config: ExecutorConfig) -> None:
        self._row: np.ndarray | None = None

    def receive(self, rows: np.ndarray, delay: int) -> None:
        self._row = rows[0]

    def look(self, tick: int, observation: Any, idle: bool) -> ChunkWanted | None:
        return ChunkWanted(observation, tick, np.full((3, 2), 100.0)) if idle else None

    def command(self) -> np.ndarray | None:
        row, self._row = self._row, None
        return row


def test_the_first_chunk_is_there_and_each_other_after_its_delay() -> None:
    sent, run, seen = played(EverySecond, 2)
    assert seen[:3] == [0, 1, 3]
    np.testing.assert_array_equal(sent[:6], [100, NOTHING, NOTHING, 200, NOTHING, 300])
    assert list(run.delay[run.took_over]) == [0, *[2] * 9]
    figures = summarize(run)
    assert figures['starved_ticks'] == 10
    # Chunk n has 100 n and 100 n + 1 where 100 was planned for the two ticks of its delay.
    expected = np.mean([100.0 * n + 0.5 - 100.0 for n in range(2, 11)])
    assert figures['consistency_rad'] == pytest.approx(expected)


def test_while_nothing_is_sent_the_last_command_stands() -> None:
    _, run, _ = played(EverySecond, 2)
    np.testing.assert_array_equal(run.command[:4, 0], [100, 100, 100, 200])
    assert (run.phase[:4] == [Phase.EXECUTING, Phase.HOLDING, Phase.HOLDING, 1]).all()


def test_gated_commands_keep_the_limits() -> None:
    limits = Limits([-1e4] * 2, [1e4] * 2, [50.0] * 2, [500.0] * 2)
    config = ExecutorConfig(limits, ('x', 'y'), H, S, control_rate_hz=50.0, policy_rate_hz=50.0)
    delays = DelayModel(0).draws(H, S, np.random.default_rng(0))
    loop = PeerRun(Standing(), config, EverySecond(config), delays, Seed(0, 0), gated=True)
    (run,) = play([loop], Numbered())
    assert np.abs(np.diff(run.command, axis=0)).max() <= 50.0 / 50.0 + 1e-9
    assert summarize(run)['limited_ticks'] == TICKS


def test_a_peer_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(AsyncChunkingError, match=r"peer 'lerobot:mean'.*average"):
        peer_of('lerobot:mean')
    assert peer_of('rtc:schedule=linear') is None


def test_a_package_that_is_missing_is_named_in_one_line(monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__('sys').modules, 'openpi_client', None)
    monkeypatch.delitem(__import__('sys').modules, 'tools.peers.openpi', raising=False)
    with pytest.raises(AsyncChunkingError, match=r'openpi-client.*make setup-peers') as error:
        PEERS['openpi:broker'].loaded()
    assert '\n' not in str(error.value)


def row(strategy: str, rollout: int, **figures: Any) -> Row:
    return dict.fromkeys(SCHEMA.names, 0) | {
        'task': 't', 'strategy': strategy, 'horizon': 16, 'execution_horizon': 8, 'delay': 2,
        'delay_truth': 'constant', 'delay_told': 'exact', 'rollout': rollout, 'ticks': 100,
        'chunks': 1, 'success': False, **figures,
    }  # fmt: skip


def test_the_table_says_who_is_ahead_and_when_nobody_is() -> None:
    each = [
        figures
        for n in range(64)
        for figures in (
            row('naive', n, success=n < 60, command_jerk_rad_s3=10.0 + n % 2, starved_ticks=0),
            row('sync', n, success=n < 1, command_jerk_rad_s3=20.0, waiting_ticks=30),
            row('openpi:broker', n, success=n < 10, command_jerk_rad_s3=5.0, starved_ticks=20),
            row('lerobot:rtc', n, success=n < 58, command_jerk_rad_s3=99.0, starved_ticks=0),
        )
    ]
    lines = {line[0]: line for line in side_by_side(each).rows}
    assert list(lines) == ['d = 2', 'sync', 'naive', 'lerobot:rtc', 'openpi:broker']
    assert lines['sync'][4] == '30.0 ± 0.0'
    assert lines['openpi:broker'][4] == '20.0 ± 0.0'
    said = {line[0]: line for line in leaders(each).rows}
    assert said['solved [%]'][1].startswith('naive')
    assert said['solved [%]'][2].startswith('lerobot:rtc')
    assert said['solved [%]'][3] == 'not told apart'
    assert said['jerk [rad/s³]'][3] == 'peers'
    assert said['stalls [%]'][3] == 'equal'


# --- with the packages ---------------------------------------------------------------------------


def test_the_broker_plays_s_rows_and_blocks_for_the_delay() -> None:
    sent, _, seen = played(peer('openpi:broker'), 2)
    cycle = [[*rows(n, 0, 3), NOTHING, NOTHING] for n in range(1, 5)]
    np.testing.assert_array_equal(sent, np.concatenate(cycle)[:TICKS])
    assert seen == [0, 4, 10, 16]


def test_the_broker_never_stops_without_delay() -> None:
    sent, _, _ = played(peer('openpi:broker'), 0)
    np.testing.assert_array_equal(sent, [100 * n + r for n in range(1, 6) for r in range(4)])


def test_the_queue_drops_the_rows_of_the_delay() -> None:
    sent, run, seen = played(peer('lerobot:rtc'), 2)
    expected = rows(1, 0, 5) + rows(2, 2, 5) + rows(3, 2, 5) + rows(4, 2, 5) + rows(5, 2, 3)
    np.testing.assert_array_equal(sent, expected)
    assert seen == [0, 4, 8, 12, 16]
    np.testing.assert_array_equal(run.exchanges[2].previous[:, 0], rows(1, 4, 7))


def test_the_rtc_of_the_peer_is_our_rtc_with_its_constants() -> None:
    peer('lerobot:rtc')
    policy = bench_toy.Towards()
    observation = {
        'observation.state': torch.zeros(3, 2),
        'observation.environment_state': torch.ones(3, 2),
    }
    boundary = Boundary(torch.linspace(0.0, 1.0, 48).reshape(3, 8, 2), 3, 8)
    theirs = PEERS['lerobot:rtc'].load_sampler()
    ours = resolve('rtc_identity:max_guidance_weight=10:schedule=linear').load_sampler()
    drawn = [
        sample_chunk(policy, sampler, observation, boundary, torch.Generator().manual_seed(1))
        for sampler in (theirs, ours)
    ]
    torch.testing.assert_close(drawn[0].actions, drawn[1].actions, rtol=1e-4, atol=1e-5)


def test_the_ensemble_weighs_old_rows_more_and_waits_for_each_chunk() -> None:
    sent, _, seen = played(peer('lerobot:act_ensemble'), 0)
    assert seen == list(range(TICKS))
    weights = np.exp(-0.01 * np.arange(H))
    for tick in range(TICKS):
        oldest = max(0, tick - H + 1)
        values = [100.0 * (n + 1) + tick - n for n in range(oldest, tick + 1)]
        mean = np.average(values, weights=weights[: len(values)])
        assert sent[tick] == pytest.approx(mean, rel=1e-5)
    sent, _, _ = played(peer('lerobot:act_ensemble'), 2)
    np.testing.assert_array_equal(np.isfinite(sent[:7]), [1, 0, 0, 1, 0, 0, 1])


@pytest.mark.parametrize(
    ('rule', 'new'),
    [('weighted_average', 0.7), ('latest_only', 1.0), ('average', 0.5), ('conservative', 0.3)],
)
def test_the_client_mixes_what_two_chunks_have_for_a_tick(rule: str, new: float) -> None:
    sent, _, seen = played(peer(f'lerobot:{rule}'), 2)
    # Actions 0 to 3 are sent, 4 of 8 are left: the observation of tick 3 goes out, and its chunk
    # is there at tick 5. Its row 2 belongs to action 5, of which the old chunk still has 5 to 7.
    # That of tick 4 came meanwhile; its chunk is there at tick 7, and is mixed with the mixture.
    assert seen[:3] == [0, 3, 4]
    mixed = [(1.0 - new) * old + new * young for old, young in zip(
        rows(1, 5, 7), rows(2, 2, 4), strict=True
    )]  # fmt: skip
    mixed[2] = (1.0 - new) * mixed[2] + new * 303.0
    np.testing.assert_allclose(sent[:8], rows(1, 0, 4) + mixed, rtol=1e-6)


def test_the_client_works_on_the_newest_observation_once_it_is_free() -> None:
    sent, _, seen = played(peer('lerobot:latest_only'), 4)
    # The observations of ticks 4 to 6 come while that of tick 3 is worked on; at 7 the last of
    # them is taken.
    assert seen[:3] == [0, 3, 6]
    np.testing.assert_array_equal(sent[:11], rows(1, 0, 6) + rows(2, 4, 7))


def test_the_server_filters_what_looks_alike_until_the_client_has_nothing_left(
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr(Standing, '_seen', lambda self: {'observation.state': np.zeros(2)})
    sent, _, _ = played(peer('lerobot:latest_only'), 2)
    # The observation of tick 7, when the last action is sent, must go; its row 0 is that action.
    np.testing.assert_array_equal(sent[:12], [*rows(1, 0, 7), NOTHING, *rows(2, 1, 3)])


def test_the_command_names_who_does_not_exist() -> None:
    done = invoke('peers', '--players', 'naive,openpi:nobody', '--rollouts', '16')
    assert done.exit_code != 0
    assert "peer 'openpi:nobody'" in str(done.exception) + done.output
