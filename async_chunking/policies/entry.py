# SPDX-License-Identifier: Apache-2.0
"""
`policy:=torch policy_entry:=module:factory`: whatever a factory returns, as a policy.

The factory is called with `policy_path`. What it returns has `horizon` and `action_dim`, and
either `encode` and `velocity` (a flow policy) or `chunk` (strategies that need no velocity). It
may have whatever else `FlowPolicy` has. docs/policies.md has an example.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.base import ChunkPolicy, Encoding, FlowPolicy, Observation
from async_chunking.policies.checkpoint.directory import corrector_offers
from async_chunking.policies.source import PolicySource, PolicySpec
from async_chunking.samplers.base import PolicyError
from async_chunking.storage import sha256
from async_chunking.strategies import NEEDS, Strategy


class EntryError(AsyncChunkingError):
    """A factory cannot be found, fails, or returns no policy."""


class ModuleFlow(FlowPolicy):
    """
    An object with `encode` and `velocity`, as a flow policy.

    Args:
        model: The object; a method that it lacks is the one of `FlowPolicy`.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.horizon = model.horizon
        self.action_dim = model.action_dim
        self.num_steps = getattr(model, 'num_steps', FlowPolicy.num_steps)
        self.offers = frozenset(getattr(model, 'offers', FlowPolicy.offers))
        for name in ('normalize', 'denormalize', 'repeat'):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    def networks(self) -> tuple[nn.Module, ...]:
        """Return the model, if it is a network."""
        return (self._model,) if isinstance(self._model, nn.Module) else ()

    def encode(self, observation: Observation) -> Encoding:
        """Pass through."""
        return self._model.encode(observation)

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        """
        Pass through.

        Raises:
            PolicyError: The velocity has another shape than the actions.
        """
        velocity = self._model.velocity(actions, flow_time, encoding)
        if velocity.shape != actions.shape:
            msg = f'velocity returned {list(velocity.shape)} for actions {list(actions.shape)}'
            raise PolicyError(msg)
        return velocity


class ModuleChunk(ChunkPolicy):
    """An object with `chunk`, as a policy without velocity."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.horizon = model.horizon
        self.action_dim = model.action_dim
        self.offers = frozenset(getattr(model, 'offers', ()))

    def chunk(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """
        Pass through.

        Raises:
            PolicyError: The chunk has another shape than was promised.
        """
        chunk = self._model.chunk(observation, generator)
        if tuple(chunk.shape[1:]) != (self.horizon, self.action_dim):
            msg = f'chunk returned {list(chunk.shape)}, not [B, {self.horizon}, {self.action_dim}]'
            raise PolicyError(msg)
        return chunk


def adapt(model: Any, title: str) -> FlowPolicy | ChunkPolicy:
    """
    Return what a factory made as a policy.

    Raises:
        EntryError: Something is missing; says what.
    """
    for name in ('horizon', 'action_dim'):
        value = getattr(model, name, None)
        if not isinstance(value, int) or value < 1:
            msg = f'{title}: {type(model).__name__}.{name} must be a whole number, is {value!r}'
            raise EntryError(msg)
    unknown = sorted(set(getattr(model, 'offers', ())) - set(NEEDS))
    if unknown:
        msg = f'{title}: offers names {unknown[0]!r}. Choices: {", ".join(NEEDS)}'
        raise EntryError(msg)
    if isinstance(model, nn.Module):
        model.eval().requires_grad_(False)
    if isinstance(model, (FlowPolicy, ChunkPolicy)):
        return model
    if callable(getattr(model, 'encode', None)) and callable(getattr(model, 'velocity', None)):
        return ModuleFlow(model)
    if callable(getattr(model, 'chunk', None)):
        return ModuleChunk(model)
    msg = f'{title}: {type(model).__name__} has neither encode and velocity, nor chunk'
    raise EntryError(msg)


class EntrySource(PolicySource):
    """
    The policy that a factory made.

    Args:
        spec: Names the factory; `path` is its argument, and the folder of a corrector if any.
    """

    def __init__(self, spec: PolicySpec) -> None:
        self.title = spec.options.policy_entry
        factory = _factory(spec.options.policy_entry)
        try:
            model = factory(spec.options.policy_path)
        except AsyncChunkingError:
            raise
        except Exception as error:  # Whatever foreign code raises.
            msg = f'{spec.options.policy_entry}({spec.options.policy_path!r}) failed: {error!r}'
            raise EntryError(msg) from error
        self._policy = adapt(model, spec.options.policy_entry)
        self._weak = getattr(model, 'weak', None)
        self.horizon = self._policy.horizon
        self.action_dim = self._policy.action_dim
        self.observation_steps = getattr(model, 'observation_steps', 1)
        self.expects: Mapping[str, tuple[int, ...]] = dict(getattr(model, 'expects', {}))
        offers = self._policy.offers | corrector_offers(spec.options.policy_path)
        self.offers = offers | ({'weak_policy'} if self._weak is not None else set())
        self._policy.offers = self.offers
        module = sys.modules.get(getattr(factory, '__module__', ''))
        code = getattr(module, '__file__', None)
        self._code = sha256(Path(code).read_bytes()) if code else ''

    def digest(self, strategy: Strategy) -> str:
        """Return the hash of the file that the factory is in; what it loads is not known."""
        del strategy  # All run on the same.
        return self._code

    def policy_for(
        self, strategy: Strategy, device: torch.device | str = 'cpu'
    ) -> FlowPolicy | ChunkPolicy:
        """Return the policy; it is on the device that its factory chose."""
        del strategy, device  # Unused.
        return self._policy

    def weak_policy(self, device: torch.device | str = 'cpu') -> FlowPolicy:
        """Return the model's attribute `weak`."""
        del device  # Unused.
        return adapt(self._weak, f'{self.title}: weak')


def open_policy(spec: PolicySpec) -> EntrySource:
    """Call a factory; see `EntrySource`."""
    return EntrySource(spec)


def _factory(entry: str) -> Callable[[str], Any]:
    place, _, name = entry.rpartition(':')
    if not (place and name):
        msg = f"policy_entry '{entry}' is not module:factory or file.py:factory"
        raise EntryError(msg)
    try:
        module = _from_file(place) if place.endswith('.py') else importlib.import_module(place)
    except Exception as error:  # Whatever foreign code raises while it is imported.
        msg = f"policy_entry '{entry}': cannot import {place}, is it on PYTHONPATH? {error!r}"
        raise EntryError(msg) from error
    factory = getattr(module, name, None)
    if not callable(factory):
        known = ', '.join(n for n in vars(module) if not n.startswith('_'))
        msg = f"policy_entry '{entry}': {place} has no function {name}. It has: {known}"
        raise EntryError(msg)
    return factory


def _from_file(path: str) -> Any:
    file = Path(path).expanduser().resolve()
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module
