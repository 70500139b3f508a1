# SPDX-License-Identifier: Apache-2.0
"""Faults that need no robot: the judge of limits and the gate, on streams with known answers."""

from __future__ import annotations

import numpy as np

from async_chunking.gate import Gate
from async_chunking.metrics.limit_use import limit_use
from async_chunking.safety import Limits
from tools.faults.done import Done
from tools.faults.scene import FaultScene

_PERIOD = 0.02
# Of panda_joint6, in a robot's YAML of its maker.
LIMITS = Limits(*(np.array([value]) for value in (-2.8, 2.8, 2.0, 5.0, 300.0)))


def _exceeded(stream: np.ndarray) -> int:
    exceeded = limit_use(stream, _PERIOD, LIMITS).figures()['exceeded']
    assert isinstance(exceeded, int)
    return exceeded


def bad_streams(scene: FaultScene, seconds: float) -> Done:
    """Streams that hurt a robot are given to the judge of limits: each must be accused."""
    del scene, seconds  # Unused.
    still, way = np.zeros(50), 0.001 * np.arange(50.0)
    streams = {
        'no number': np.where(np.arange(50) == 20, np.nan, still),
        'infinite': np.where(np.arange(50) == 20, np.inf, still),
        'a jump at the start': np.concatenate(([0.0], still + 0.2)),
        'a jump between two runs': np.concatenate((still, still + 1.6)),
        'outside': still + 2.9,
        'full speed at once': np.concatenate((still, way * 30.0)),
        'a jerk': np.concatenate((still, [0.0019], still)),
    }
    accused = {name: _exceeded(stream[:, None]) > 0 for name, stream in streams.items()}
    good = np.sin(np.arange(200) * 0.02)[:, None] * 0.1
    accused['and none that is good'] = _exceeded(good) == 0
    return Done(len(streams), {f'counted: {name}': right for name, right in accused.items()})


def jerk_used(scene: FaultScene, seconds: float) -> Done:
    """Plans inside all limits, jerk used up to 0.99, go through the gate: none may change."""
    del seconds  # Unused.
    done, farthest = Done(), 0.0
    for rate in scene.rng.uniform(1.0, 60.0, 20):
        swing = 0.99 * min(2.0 / rate, 5.0 / rate**2, 300.0 / rate**3, 2.7)
        plan = swing * np.sin(rate * _PERIOD * np.arange(500.0))[:, None]
        gate = Gate(LIMITS, _PERIOD)
        gate.start(plan[0], (plan[1] - plan[0]) / _PERIOD)
        for before, now, after in zip(plan[:-2], plan[1:-1], plan[2:], strict=True):
            command = gate.follow(now, now - before, after - now)
            farthest = max(farthest, float(np.abs(command - now).max()))
        done.count += 1
    done.checks = {'a target inside the limits passes unchanged': farthest < 1e-9}
    done.note = f'farthest {farthest:.3g} rad'
    return done
