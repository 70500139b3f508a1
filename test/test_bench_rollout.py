# SPDX-License-Identifier: Apache-2.0
"""Rollouts: the published protocol, reproducibility, and what a batch must not change."""

from __future__ import annotations

from dataclasses import replace

import bench_toy
import numpy as np
import pytest
import torch

from async_chunking.bench.delays import DelayModel
from async_chunking.bench.rollout import ClosedLoopRun, Seed, play
from async_chunking.bench.serving import SamplingServer
from async_chunking.chunk import Boundary
from async_chunking.correctors import Corrector
from async_chunking.executor import Behaviour, Phase
from async_chunking.mergers import MERGERS
from async_chunking.metrics import summarize
from async_chunking.metrics.record import Run
from async_chunking.samplers.base import Draw, Sampler, normal, sample_chunk
from async_chunking.samplers.plain import Plain


def rollouts(
    seeds: list[int],
    delay: DelayModel,
    execution_horizon: int,
    sampler: Sampler | None = None,
    merger: str = 'switch',
    corrector: Corrector | None = None,
    **changes: object,
) -> tuple[list[Run], list[ClosedLoopRun]]:
    config = bench_toy.config(execution_horizon, **changes)
    behaviour = Behaviour('toy', MERGERS[merger](), corrector or Corrector())
    loops = []
    for number in seeds:
        seed = Seed(3, number)
        delays = delay.draws(config.horizon, execution_horizon, seed.rng(1))
        loops.append(ClosedLoopRun(bench_toy.Chase(), config, behaviour, delays, seed))
    server = SamplingServer(bench_toy.Towards(), sampler or Plain())
    return play(loops, server), loops


def published_protocol(number: int, delay: int, execution_horizon: int) -> np.ndarray:
    """Observe, draw, execute A_prev[0:d] then A_new[d:s], shift by s; first a plain chunk."""
    policy, environment, seed = bench_toy.Towards(), bench_toy.Chase(), Seed(3, number)
    observation, request, done, commands = environment.reset(seed.rng(0)), 0, False, []
    previous = None
    while not done:
        request += 1
        rows = np.empty((0, 2)) if previous is None else previous
        boundary = Boundary(torch.tensor(rows[None]).float(), delay, execution_horizon)
        batch = {name: torch.tensor(value[None]).float() for name, value in observation.items()}
        new = sample_chunk(policy, Plain(), batch, boundary, [seed.noise(request)]).actions
        new = new[0].double().numpy()
        first = delay if previous is not None else 0
        cycle = np.concatenate([rows[:first], new[first:execution_horizon]])
        previous = new[execution_horizon:]
        for command in cycle:
            observation, done, _ = environment.step(command)
            commands.append(command)
            if done:
                break
    return np.array(commands)


@pytest.mark.parametrize(('delay', 'execution_horizon'), [(0, 4), (2, 5), (4, 4), (8, 8), (4, 12)])
def test_execution_is_the_published_protocol(delay: int, execution_horizon: int) -> None:
    runs, _ = rollouts([5], DelayModel(delay), execution_horizon)
    expected = published_protocol(5, delay, execution_horizon)
    np.testing.assert_allclose(runs[0].command, expected, atol=1e-6)
    np.testing.assert_allclose(runs[0].planned, expected, atol=1e-6)
    assert (runs[0].phase == Phase.EXECUTING).all()
    takeovers = runs[0].delay[runs[0].took_over]
    assert takeovers[0] == 0
    assert set(takeovers[1:]) == {delay}


def test_noise_episode_and_delays_do_not_depend_on_the_batch() -> None:
    model = DelayModel(3, 'spiky', 'maximum')
    together, _ = rollouts([0, 1, 2, 3], model, 6)
    alone, _ = rollouts([2], model, 6)
    np.testing.assert_array_equal(together[2].delay, alone[0].delay)
    # Batches of other sizes round differently in the last bits of single precision at most.
    np.testing.assert_allclose(together[2].command, alone[0].command, atol=1e-5)
    again, _ = rollouts([0, 1, 2, 3], model, 6)
    for one, two in zip(together, again, strict=True):
        np.testing.assert_allclose(one.command, two.command, atol=1e-6)
    assert not np.allclose(together[0].command[:10], together[1].command[:10])


def test_every_request_of_every_rollout_has_noise_of_its_own() -> None:
    def drawn(seed: int, rollout: int, request: int) -> float:
        return torch.randn(1, generator=Seed(seed, rollout).noise(request)).item()

    names = [(3, 0, 1), (3, 0, 2), (3, 1, 1), (4, 0, 1)]
    assert len({drawn(*name) for name in names}) == len(names)
    assert drawn(3, 0, 1) == pytest.approx(drawn(3, 0, 1))


def test_strategies_share_the_first_noise_of_a_rollout() -> None:
    naive, _ = rollouts([0], DelayModel(2), 4)
    sync, _ = rollouts([0], DelayModel(2), 4, merger='wait')
    np.testing.assert_allclose(
        naive[0].exchanges[1].actions, sync[0].exchanges[1].actions, atol=1e-6, strict=True
    )


def test_sync_rests_for_the_delay_and_executes_whole_chunks() -> None:
    runs, _ = rollouts([1], DelayModel(3), 4, merger='wait')
    phases = runs[0].phase[4:32]
    expected = [Phase.WAITING] * 3 + [Phase.EXECUTING] * 4
    np.testing.assert_array_equal(phases[: 7 * (len(phases) // 7)].reshape(-1, 7), [expected] * 4)


def test_sync_may_ask_while_the_first_chunk_is_blended_in() -> None:
    runs, _ = rollouts([1], DelayModel(3), 4, merger='wait', blend_s=0.5)
    assert all(len(exchange.previous) == 0 for exchange in runs[0].exchanges.values())
    assert len(runs[0].exchanges) > 4


def test_counts_the_velocity_evaluations_of_each_chunk() -> None:
    runs, loops = rollouts([0, 1, 2], DelayModel(2), 4)
    for run, loop in zip(runs, loops, strict=True):
        assert loop.calls == 3 * len(run.exchanges)


def test_runs_summarize() -> None:
    runs, _ = rollouts(list(range(8)), DelayModel(4), 6)
    figures = [summarize(run) for run in runs]
    assert all(f['consistency_rad'] > 0.0 and f['starved_ticks'] == 0 for f in figures)
    solved = [run for run in runs if run.success]
    assert solved
    for run in solved:
        assert run.completion_time == pytest.approx(len(run.tick) * 0.02)


def test_told_delay_differs_from_the_true_one() -> None:
    runs, _ = rollouts([0], DelayModel(3, 'constant', 'noisy'), 6)
    told = {e.conditioned_delay for e in list(runs[0].exchanges.values())[1:]}
    assert told <= {2, 3, 4}
    assert len(told) > 1
    assert set(runs[0].delay[runs[0].took_over][1:]) == {3}


def test_steps_and_ticks_may_differ() -> None:
    """Chunks at 12.5 Hz on commands at 50 Hz: a delay of 2 steps is 8 ticks."""
    runs, _ = rollouts([0], DelayModel(2), 4, policy_rate_hz=12.5)
    requests = [e.tick for e in runs[0].exchanges.values()]
    takeovers = runs[0].tick[runs[0].took_over]
    assert requests[:3] == [0, 16, 32]
    assert takeovers[:3].tolist() == [0, 24, 40]
    assert set(runs[0].delay[runs[0].took_over][1:]) == {2}


class _Remembering(Plain):
    """Returns the noise as state, and adds the state of the request before to the actions."""

    def draw(self, context):
        drawn, noise, state = super().draw(context).actions, context.noise, context.state
        more = normal(noise.shape, context.generator, noise)
        return Draw(drawn if state is None else drawn + 1e-3 * state, noise + more)


def test_states_of_samplers_stay_with_their_stream() -> None:
    model = DelayModel(2, 'fluctuating', 'exact')  # So that batches fall apart and join again.
    together, _ = rollouts([0, 1, 2], model, 6, _Remembering())
    for number in range(3):
        alone, _ = rollouts([number], model, 6, _Remembering())
        np.testing.assert_allclose(together[number].command, alone[0].command, atol=1e-5)
    forgetful, _ = rollouts([0], model, 6)  # Its state makes a difference at all.
    assert not np.allclose(together[0].command[:10], forgetful[0].command[:10], atol=1e-5)


class _Shift(Corrector):
    def correct(self, action, row, horizon, observation):
        del row, horizon  # Unused.
        return action + observation['observation.environment_state'] * 0.1


def test_correctors_see_the_observation_of_their_tick() -> None:
    runs, _ = rollouts([0], DelayModel(2), 4, corrector=_Shift())
    added = runs[0].command - runs[0].planned
    environment = bench_toy.Chase()
    observation = environment.reset(Seed(3, 0).rng(0))
    for correction, command in zip(added, runs[0].command, strict=True):
        np.testing.assert_allclose(
            correction, 0.1 * observation['observation.environment_state'], atol=1e-9
        )
        observation, _, _ = environment.step(command)


def test_limits_of_the_robot_hold() -> None:
    slow = replace(bench_toy.FREE, velocity=[0.5] * 2, acceleration=[5.0] * 2)
    config = replace(bench_toy.config(4), limits=slow)
    behaviour = Behaviour('toy', MERGERS['switch'](), Corrector())
    seed = Seed(0, 0)
    loop = ClosedLoopRun(
        bench_toy.Chase(), config, behaviour, DelayModel(2).draws(16, 4, seed.rng(1)), seed
    )
    (run,) = play([loop], SamplingServer(bench_toy.Towards(), Plain()))
    assert np.abs(np.diff(run.command, axis=0)).max() <= 0.5 * 0.02 + 1e-9


@pytest.mark.parametrize(('control_rate_hz', 'policy_rate_hz'), [(50.0, 50.0), (50.0, 20.0)])
@pytest.mark.parametrize('delay', [1, 16, 40])
def test_a_robot_that_rests_waits_for_any_delay(
    delay: int, control_rate_hz: float, policy_rate_hz: float
) -> None:
    """Rows are executed from the first on, whenever they come; between chunks it rests."""
    rates = {'control_rate_hz': control_rate_hz, 'policy_rate_hz': policy_rate_hz}
    config = bench_toy.config(8, hold_timeout_s=5.0, **rates)
    seed, behaviour = Seed(3, 1), Behaviour('toy', MERGERS['wait'](), Corrector())
    delays = DelayModel(delay).draws(16, 8, seed.rng(1))
    loop = ClosedLoopRun(bench_toy.Chase(400), config, behaviour, delays, seed)
    (run,) = play([loop], SamplingServer(bench_toy.Towards(), Plain()))
    assert set(run.phase) <= {Phase.EXECUTING, Phase.WAITING, Phase.WAITING_FIRST}
    stride = control_rate_hz / policy_rate_hz
    waits = np.flatnonzero(np.diff(run.took_over.astype(int)) > 0)
    expected = 8 * stride + int(delay * stride + 1e-9)
    assert np.abs(np.diff(waits) - expected).max(initial=0.0) <= 1.0
    moving = run.phase == Phase.EXECUTING
    assert np.abs(np.diff(run.command, axis=0)[~moving[1:]]).max(initial=0.0) < 1e-9


class FarAway(bench_toy.Towards):
    """Wants to be where no limit lets it."""

    def denormalize(self, actions, observation):
        actions = super().denormalize(actions, observation).clone()
        actions[..., 3:, 1] = 500.0
        return actions


def test_chunks_that_are_all_turned_away_are_named() -> None:
    seed, config = Seed(3, 1), bench_toy.config(8)
    behaviour = Behaviour('toy', MERGERS['switch'](), Corrector())
    for policy, words in ((bench_toy.Towards(), ''), (FarAway(), 'has y at 500, its limits are')):
        delays = DelayModel(1).draws(16, 8, seed.rng(1))
        loop = ClosedLoopRun(bench_toy.Chase(), config, behaviour, delays, seed)
        play([loop], SamplingServer(policy, Plain()))
        assert words in loop.turned_away
        assert bool(loop.turned_away) == bool(words)
