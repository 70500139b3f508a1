"""Environments in the manner of Gymnasium, without it: what descriptions in tests name."""

from __future__ import annotations

from typing import Any

import numpy as np


class Box:
    """The part of `gymnasium.spaces.Box` that is read."""

    def __init__(self, low: float, high: float, size: int) -> None:
        self.low, self.high = np.full(size, low, np.float32), np.full(size, high, np.float32)
        self.shape, self.dtype = (size,), np.dtype(np.float32)


class Slide:
    """A point is pushed to a goal by offsets; `info` tells when it is there."""

    action_space: Any = Box(-1.0, 1.0, 2)

    def __init__(
        self,
        fails_at: int = 0,
        shuffles: bool = False,
        picture: bool = False,
        episodes: int = 0,
    ) -> None:
        self.actions: list[np.ndarray] = []
        self._episodes, self._begun = episodes, 0
        self._fails_at, self._shuffles, self._picture = fails_at, shuffles, picture
        self._free = np.random.default_rng(7)

    def reset(self, seed: int | None = None) -> tuple[Any, dict]:
        self._begun += 1
        if self._episodes and self._begun > self._episodes:
            raise OSError('the disk is full')
        rng = self._free if self._shuffles else np.random.default_rng(seed)
        self._point, self._goal = rng.uniform(-0.1, 0.1, 2), rng.uniform(0.5, 1.0, 2)
        self.ticks = 0
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        assert action.dtype == np.float32
        self.ticks += 1
        self.actions.append(action)
        if self.ticks == self._fails_at:
            raise FloatingPointError('the ball left the world')
        self._point = self._point + 0.1 * action
        near = float(np.linalg.norm(self._goal - self._point))
        return self._seen(), -near, False, self.ticks == 40, {'there': near < 0.1}

    def _seen(self) -> Any:
        flat = np.concatenate([self._point, self._goal])
        if not self._picture:
            return flat
        return {'flat': flat, 'pixels': {'top': np.zeros((4, 6, 3), np.uint8)}}


class SlideVector:
    """A vector of slides as Gymnasium has them; begins anew within the step that ends one."""

    def __init__(self, num_envs: int = 1) -> None:
        self.num_envs, self._slide = num_envs, Slide()
        self.single_action_space = Slide.action_space

    def reset(self, seed: list[int]) -> tuple[Any, dict]:
        assert len(seed) == 1
        return self._slide.reset(seed[0])[0][None], {}

    def step(self, actions: np.ndarray) -> tuple[Any, Any, Any, Any, dict]:
        seen, reward, over, late, info = self._slide.step(actions[0])
        said: dict[str, Any] = {'there': np.array([False]), '_there': np.array([True])}
        if info['there'] or late:
            seen, late = self._slide.reset()[0], True
            said['final_info'] = {'there': np.array([info['there']]), '_there': np.array([True])}
        return seen[None], np.array([reward]), np.array([over]), np.array([late]), said


def slides(**arguments: Any) -> SlideVector:
    return SlideVector(**arguments)


class Discrete(Slide):
    action_space = 'Discrete(2)'


def slide(**arguments: Any) -> Slide:
    return Slide(**arguments)


def discrete() -> Slide:
    return Discrete()


def broken() -> Slide:
    raise OSError('no such mesh')


def expert() -> Any:
    return lambda seen: np.clip(5.0 * (seen[2:] - seen[:2]), -1.0, 1.0)
