# SPDX-License-Identifier: Apache-2.0
"""Offsets and velocities in a closed loop: the robot moves as with positions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from moded import Moded

from async_chunking.chunk import ActionChunk
from async_chunking.correctors import Corrector
from async_chunking.errors import StrategyError
from async_chunking.executor import Behaviour, Executor, ExecutorConfig
from async_chunking.mergers import MERGERS
from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.checkpoint.shipped import policy_directory
from async_chunking.policies.fit import Facts
from async_chunking.policies.responder import Responder
from async_chunking.policies.strategy_fit import check_strategy
from async_chunking.robot.action_modes import ActionModes
from async_chunking.robot.embodiment import load
from async_chunking.sim import make_task
from async_chunking.strategies import resolve

TICKS, DELAY = 120, 3


class ModeSource(PolicyDirectory):
    """The shipped policy of a task, in another mode."""

    mode = 'absolute'
    period = 1.0

    def policy_for(self, strategy, device='cpu'):
        policy = super().policy_for(strategy, device)
        return policy if self.mode == 'absolute' else Moded(policy, self.mode, self.period)


def commands(name: str, strategy: str, modes: tuple[str, ...]) -> np.ndarray:
    """Return the commands [TICKS, D] of a task whose policy speaks in these modes."""
    task = make_task(name)
    robot, period = load(task.embodiment), 1.0 / task.policy_rate_hz
    source = ModeSource(policy_directory(robot.policy.path))
    source.mode, source.period = modes[0], period
    responder = Responder(source, seed=5, modes=ActionModes(modes, period))
    config = ExecutorConfig(
        robot.limits, robot.joint_names, source.horizon, robot.policy.execution_horizon,
        task.control_rate_hz, task.policy_rate_hz,
    )  # fmt: skip
    behaviour = Behaviour(strategy, MERGERS['switch'](), Corrector())
    observation = task.reset(np.random.default_rng(1))
    executor = Executor(config, behaviour, 1, observation['observation.state'])
    executor.delay, arrivals, sent = DELAY, [], []
    for tick in range(TICKS):
        while arrivals and arrivals[0][0] <= tick:
            executor.push(arrivals.pop(0)[1])
        request = executor.poll()
        if request is not None:
            measured = observation['observation.state']
            answer = responder.answer(request, observation, measured)
            assert answer.refusal == ''
            chunk = ActionChunk(
                request.run_id, request.request_id, request.tick, answer.actions, DELAY
            )
            arrivals.append((tick + round(DELAY * config.stride), chunk))
        sent.append(executor.step(observation).command)
        observation, _, _ = task.step(sent[-1])
    assert executor.counters['accepted'] > 3
    return np.array(sent)


@pytest.mark.parametrize(
    ('name', 'mode', 'strategy'),
    [
        *itertools.product(['humanoid_place'], ['delta'], ['naive', 'paint', 'rtc']),
        *itertools.product(['franka_catch'], ['velocity'], ['naive', 'paint', 'rtc']),
    ],
)
def test_the_robot_moves_as_with_positions(name, mode, strategy):
    """The boundary is translated too: samplers condition on it in the policy's own numbers."""
    joints = load(make_task(name).embodiment).joint_names
    expected = commands(name, strategy, ('absolute',) * len(joints))
    sent = commands(name, strategy, (mode,) * len(joints))
    assert np.ptp(expected, axis=0).max() > 0.1  # It moves [rad].
    np.testing.assert_allclose(sent, expected, atol=1e-4)


def test_a_strategy_that_reads_states_in_the_old_plan_is_refused_for_offsets() -> None:
    policy = Facts('policy', 16, 2, frozenset({'velocity', 'recipe:vlash'}))
    check_strategy(resolve('vlash'), policy, ActionModes(('absolute', 'absolute'), 0.02))
    check_strategy(resolve('paint'), policy, ActionModes(('delta', 'absolute'), 0.02))
    with pytest.raises(StrategyError, match='absolute, delta; it needs a policy of absolute'):
        check_strategy(resolve('vlash'), policy, ActionModes(('delta', 'absolute'), 0.02))
    with pytest.raises(StrategyError, match='they are absolute positions here'):
        check_strategy(
            resolve('vlash:mode=delta'), policy, ActionModes(('absolute', 'absolute'), 0.02)
        )
