# SPDX-License-Identifier: Apache-2.0
"""
`policy:=wave`: for a robot that has no policy yet, joints that wave slowly about their middle.

A flow policy in closed form, so every strategy without training runs on it. Each joint goes round
a circle of position and velocity: where it is on it is read from the last observations, and a
chunk goes on from there. How far it will swing is random and drawn with each chunk, so chunks
disagree the more, the further they look ahead; this is what strategies are there for.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.base import Encoding, FlowPolicy, Observation
from async_chunking.policies.source import PolicySource, PolicySpec
from async_chunking.robot.action_modes import ActionModes
from async_chunking.robot.embodiment import Embodiment
from async_chunking.robot.follower import home
from async_chunking.robot.wiring import WITH_JOINTS
from async_chunking.strategies import Strategy

_PERIOD_S = 4.0  # [s].
_SEEN_S = 0.1  # Of the past, so that a velocity is no noise of the time between messages [s].
_SETTLE_S = 2.0  # In which a joint comes from anywhere onto its circle [s].
_TRIES = 8  # Until angle and radius are found.
_SHARE = 0.1  # Of a range, half of the swing; of a joint without limits, of 2 π.
_OF_LIMITS = 0.4  # A swing uses no more of velocity and acceleration.
_SPREAD, _LEAST = 0.4, 0.02  # How chunks differ in their swing, and otherwise; shares of a swing.


class WavePolicy(FlowPolicy):
    """
    The flow from white noise to waves of a random swing.

    Args:
        robot: Whose joints wave.
        name: Observation that holds the joints, in command order.
    """

    def __init__(self, robot: Embodiment, name: str) -> None:
        self.horizon = 4 * robot.policy.execution_horizon
        self.action_dim = len(robot.joints)
        centre, swing = circles(robot)
        self._centre, self._swing = (torch.from_numpy(v).float() for v in (centre, swing))
        self._name, self._modes = name, robot.action_modes
        self._rate = 2.0 * math.pi / _PERIOD_S  # [rad/s].
        self._period_s = 1.0 / robot.policy.policy_rate_hz
        rows = torch.arange(self.horizon)[:, None] * self._period_s
        self._angle, self._decay = self._rate * rows, torch.exp(-rows / _SETTLE_S)
        shape = torch.sin(self._angle.clamp(max=math.pi / 2))  # Row 0 is where the joint is.
        self._length = float(shape.norm().clamp(min=1e-6))
        self._direction = shape / self._length

    def encode(self, observation: Observation) -> Encoding:
        """Return the mean wave [B, H, D], in swings, that goes on from states [B, n, D]."""
        states = _moments(observation[self._name])
        swings = (states - self._centre) / self._swing
        before, now = swings[:, 0], swings[:, -1]
        velocity = (now - before) / ((states.shape[1] - 1) * self._period_s)
        # Angle and radius have laws of their own: a chunk goes on as the one before would have.
        turning = velocity / self._rate
        for _ in range(_TRIES):  # Less what the radius adds, which is not known at once.
            radius = torch.hypot(now, turning).clamp(min=1e-6)
            growing = (1.0 - radius) / _SETTLE_S * now / radius
            turning = (velocity - growing) / self._rate
        phase, radius = torch.atan2(-turning, now), torch.hypot(now, turning)
        widths = 1.0 + (radius - 1.0)[:, None] * self._decay
        return widths * torch.cos(phase[:, None] + self._angle)

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        """
        Return the velocity that carries white noise to a Gaussian of rank one and a rest.

        E[a|x] = mean + K (x - t mean) with K = t S (t^2 S + (1 - t)^2)^-1, on the direction in
        which chunks differ and beside it.
        """
        t = flow_time[:, None, None]
        rest = actions - t * encoding
        wide, narrow = (self._length * _SPREAD) ** 2 + _LEAST**2, _LEAST**2
        gains = [t * s / (t**2 * s + (1 - t) ** 2) for s in (wide, narrow)]
        along = (self._direction * rest).sum(1, keepdim=True) * self._direction
        expected = encoding + gains[1] * rest + (gains[0] - gains[1]) * along
        return (expected - actions) / (1 - t).clamp(min=1e-3)

    def normalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Return the robot's numbers as swings about the middle."""
        positions = _each(self._modes, 'to_positions', actions, observation[self._name])
        return (positions - self._centre) / self._swing

    def denormalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Return swings as the robot's numbers."""
        positions = actions * self._swing + self._centre
        return _each(self._modes, 'to_actions', positions, observation[self._name])


class WaveSource(PolicySource):
    """
    Waves for one robot.

    Raises:
        AsyncChunkingError: The robot observes its joints nowhere all together.
    """

    title = 'policy:=wave'
    offers = FlowPolicy.offers

    def __init__(self, spec: PolicySpec) -> None:
        robot = spec.robot
        names = [
            name
            for name, stream in robot.observations.items()
            if stream.kind in WITH_JOINTS and stream.joints in (None, robot.joint_names)
        ]
        if not names:
            msg = (
                f'policy:=wave reads all joints of {robot.name} in command order; add to its YAML '
                f'observations: observation.state: {{kind: measured, size: {len(robot.joints)}}}'
            )
            raise AsyncChunkingError(msg)
        self._policy = WavePolicy(robot, names[0])
        self.horizon, self.action_dim = self._policy.horizon, self._policy.action_dim
        self.expects = {names[0]: (self.action_dim,)}
        self.joint_names = robot.joint_names
        self.policy_rate_hz = robot.policy.policy_rate_hz
        self.observation_steps = 1 + max(1, round(_SEEN_S * self.policy_rate_hz))

    def policy_for(self, strategy: Strategy, device: torch.device | str = 'cpu') -> FlowPolicy:
        """Return the policy, on the processor: there is little to compute."""
        del strategy, device  # Unused.
        return self._policy


def open_policy(spec: PolicySpec) -> WaveSource:
    """Return waves for a robot; see `WaveSource`."""
    return WaveSource(spec)


def circles(robot: Embodiment) -> tuple[np.ndarray, np.ndarray]:
    """Return the middles of the waves [D] and their swings [D] [rad, m], inside all limits."""
    limits, rate = robot.limits, 2.0 * np.pi / _PERIOD_S
    width = limits.upper - limits.lower
    swing = _SHARE * np.where(np.isfinite(width), width, 2.0 * np.pi)
    for most in (limits.velocity / rate, limits.acceleration / rate**2):
        swing = np.minimum(swing, _OF_LIMITS * most)
    room = 2.0 * swing  # A swing may come out larger than it is on average.
    return np.clip(home(limits), limits.lower + room, limits.upper - room), swing


def _moments(states: Tensor) -> Tensor:
    """Return states [B, n, D]; one moment alone, as in made-up requests, is one of rest."""
    return states if states.ndim == 3 else states[:, None].expand(-1, 2, -1)


def _each(modes: ActionModes, name: str, actions: Tensor, states: Tensor) -> Tensor:
    """Return actions [B, R, D] converted for the newest of their states [B, n, D]."""
    if modes.trivial:
        return actions
    pairs = zip(actions.detach().numpy(), _moments(states)[:, -1].numpy(), strict=True)
    converted = [getattr(modes, name)(rows, state) for rows, state in pairs]
    return torch.from_numpy(np.array(converted)).to(actions.dtype)
