# SPDX-License-Identifier: Apache-2.0
"""
An environment of Gymnasium as the bench drives it: numbers by name in, a command out.

Nothing of the package gymnasium is used but `gymnasium.make`, so whatever has its `reset`, `step`
and `action_space` will do.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from async_chunking.environments.description import EnvironmentFile
from async_chunking.environments.vector import VectorError, single
from async_chunking.errors import AsyncChunkingError

ENDINGS = ('terminated',)  # May stand for a key of `info`.
RAISED = 'the environment raised'  # Begins such a failure.


class GymError(AsyncChunkingError):
    """An environment cannot be made, or is not what its description says."""


class GymEnvironment:
    """
    One environment; is an `Environment` of the bench.

    An error in the middle of an episode ends it as a failure with the words of the error; the
    next reset makes the environment anew.

    Args:
        name: Name, begins every message.
        description: What its file says.
        variant: Variant, empty if it has none.

    Attributes:
        failure: Why the last episode failed; empty while it has not.
        raw: Observation of the environment itself.

    Raises:
        GymError: The package of it is missing, or making it failed.
    """

    def __init__(self, name: str, description: EnvironmentFile, variant: str = '') -> None:
        self.name = name
        self.description = description
        self.failure = ''
        self.raw: Any = None
        self._make = factory(name, description, variant)
        self._env: Any = self._make()
        self._seen: dict[str, Any] = {}
        self._ticks = 0
        self._low, self._high = self._bounds()
        self._places = [  # Read once: it costs as much as a small environment's step.
            (key, tuple(where.key.split('.')) if where.key else (), where.index)
            for key, where in description.observations.items()
        ]
        self._type = self._env.action_space.dtype

    def reset(self, rng: np.random.Generator) -> dict[str, Any]:
        """
        Begin an episode and return what is observed at its first tick.

        Raises:
            GymError: The environment failed, or lacks what the description reads.
        """
        if self._env is None:
            self._env = self._make()
        self.failure, self._ticks = '', 0
        seed = int(rng.integers(2**31))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # Of spaces that it does not keep to.
                self.raw, _ = self._env.reset(seed=seed)
        except Exception as error:  # Whatever foreign code raises.
            self._env = None
            msg = f'{self.name}: reset(seed={seed}) failed: {_words(error)}'
            raise GymError(msg) from error
        self._seen = self._observed(self.raw)
        return self._seen

    def step(self, command: np.ndarray) -> tuple[dict[str, Any], bool, bool]:
        """Send an action [D]: what is observed then, whether the episode is over, and solved."""
        self._ticks += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                answer = self._env.step(self.action(command))
            self.raw, _, terminated, truncated, info = answer
            self._seen = self._observed(self.raw)
            solved = self._solved(info, bool(terminated))
        except GymError:
            raise
        except Exception as error:  # Whatever foreign code raises.
            self._env = None
            self.failure = f'{RAISED} {_words(error)}'[:200]
            return self._seen, True, False
        longest = self.description.max_s
        late = longest is not None and self._ticks >= longest * self.description.control_rate_hz
        over = solved or bool(terminated) or bool(truncated) or late
        if over and not solved:
            self.failure = 'ended' if terminated else 'out of time'
        return self._seen, over, solved

    @property
    def inner(self) -> Any:
        """The environment itself; None once it raised an error."""
        return self._env

    @property
    def broken(self) -> bool:
        """Whether it raised an error, and will be made anew."""
        return self._env is None

    def action(self, command: np.ndarray) -> np.ndarray:
        """Return a command [D] as the environment takes it: within its bounds, of its type."""
        return np.minimum(np.maximum(command, self._low), self._high).astype(self._type)

    def _solved(self, info: Any, terminated: bool) -> bool:
        key = self.description.success
        if key in info:
            return bool(info[key])
        if key in ENDINGS:
            return terminated
        known = ', '.join(map(str, info)) or 'nothing'
        msg = f"{self.name}: success is '{key}', but info has {known}; name a key, or 'terminated'"
        raise GymError(msg)

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what an action is cut to [D]: the described limits, else the space's."""
        space, count = self._env.action_space, len(self.description.actions)
        shape = getattr(space, 'shape', None)
        if not hasattr(space, 'low') or shape != (count,):
            msg = f'{self.name}: its action space is {space}, the description has {count} actions '
            msg += f'({", ".join(self.description.names)}); it must be a Box of as many numbers'
            raise GymError(msg)
        own = np.array([(c.lower, c.upper) for c in self.description.actions]).T
        low, high = (np.asarray(b, dtype=np.float64) for b in (space.low, space.high))
        return np.where(np.isfinite(own[0]), own[0], low), np.where(
            np.isfinite(own[1]), own[1], high
        )

    def _observed(self, raw: Any) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for name, parts, index in self._places:
            values = np.asarray(self._at(raw, name, parts))
            try:
                values = values if index is None else values[index]
            except IndexError as error:
                columns = self.description.observations[name].columns
                msg = f'{self.name}: {name}, columns {columns}: {error}'
                raise GymError(msg) from None
            picture = values.dtype == np.uint8 and values.ndim == 3
            if (values.ndim != 1 and not picture) or not values.size:
                msg = f'{self.name}: {name} is {list(values.shape)}; it must be a row of numbers, '
                raise GymError(msg + 'or a picture [height, width, 3] of bytes')
            seen[name] = values if picture else values.astype(np.float64)
        seen['task'] = self.description.instruction
        return seen

    def _at(self, raw: Any, name: str, parts: tuple[str, ...]) -> Any:
        for part in parts:
            if not isinstance(raw, dict) or part not in raw:
                has = ', '.join(raw) if isinstance(raw, dict) else f'{type(raw).__name__}, no keys'
                msg = f"{self.name}: {name} is at '{'.'.join(parts)}', but "
                raise GymError(f'{msg}the observation has {has}')
            raw = raw[part]
        if isinstance(raw, dict):
            msg = f'{self.name}: {name} needs a key, one of {", ".join(raw)}'
            raise GymError(msg)
        return raw


def factory(name: str, description: EnvironmentFile, variant: str) -> Callable[[], Any]:
    """Return what makes the environment."""
    arguments = dict(description.arguments)
    if description.variant:
        arguments[description.variant] = variant

    def make() -> Any:
        try:
            if description.entry:
                return single(imported(description.entry)(**arguments))
            import gymnasium

            module, slash, _ = description.id.partition('/')
            if slash and ':' not in description.id and importlib.util.find_spec(module):
                importlib.import_module(module)  # Registers its environments.
            if 'num_envs' in arguments:
                return single(gymnasium.make_vec(description.id, **arguments))
            return gymnasium.make(description.id, disable_env_checker=True, **arguments)
        except ModuleNotFoundError as error:
            remedy = f': {description.setup}' if description.setup else ''
            msg = f'{name} needs the package {error.name}, which is not installed{remedy}'
            raise GymError(msg) from error
        except VectorError as error:
            msg = f'{name}: {error}'
            raise GymError(msg) from error
        except AsyncChunkingError:
            raise
        except Exception as error:  # Whatever foreign code raises.
            msg = f'{name} cannot be made with {arguments}: {_words(error)}'
            raise GymError(msg) from error

    return make


def imported(entry: str) -> Callable[..., Any]:
    """
    Return a function by 'module:function' or 'file.py:function'.

    Raises:
        GymError: There is none.
    """
    place, _, function = entry.rpartition(':')
    if place.endswith('.py'):
        file = Path(place).expanduser().resolve()
        spec = importlib.util.spec_from_file_location(file.stem, file)
        if spec is None or spec.loader is None or not file.is_file():
            msg = f"entry '{entry}': there is no file {file}"
            raise GymError(msg)
        module = importlib.util.module_from_spec(spec)
        sys.modules[file.stem] = module  # As its own classes look for it there.
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(place)
    if not callable(getattr(module, function, None)):
        known = ', '.join(n for n in vars(module) if not n.startswith('_'))
        msg = f"entry '{entry}': {place} has no function {function}. It has: {known}"
        raise GymError(msg)
    return getattr(module, function)


def _words(error: Exception) -> str:
    return f'{type(error).__name__}: {error}' if str(error) else type(error).__name__
