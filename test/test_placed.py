# SPDX-License-Identifier: Apache-2.0
"""Device, half precision and compilation of a policy, and warming it up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from async_chunking.bringup.describe import describe
from async_chunking.chunk import Boundary, ChunkRequest
from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.base import ChunkPolicy, FlowPolicy
from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.checkpoint.shipped import policy_directory
from async_chunking.policies.placed import Placement, PlacementError, place
from async_chunking.policies.responder import Responder
from async_chunking.policies.source import PolicySource
from async_chunking.samplers.base import PolicyError
from async_chunking.strategies import Strategy

HALF = Placement(precision='bfloat16')


def shipped() -> PolicyDirectory:
    return PolicyDirectory(policy_directory('viperx_slalom'))


def observed(source: PolicyDirectory) -> dict[str, Any]:
    return {name: np.full(shape, 0.1) for name, shape in source.expects.items()}


def answer(placement: Placement, strategy: str) -> np.ndarray:
    source = shipped()
    boundary = Boundary(np.full((source.horizon, source.action_dim), 0.1), 2, 4)
    request = ChunkRequest(1, 1, 0, strategy, boundary)
    answer = Responder(source, 0, placement).answer(request, observed(source))
    assert not answer.refusal
    return answer.actions


@pytest.mark.parametrize('strategy', ['naive', 'rtc', 'paint', 'bid_full', 'tt_rtc'])
def test_half_precision_draws_nearly_the_same_chunk(strategy: str) -> None:
    exact, half = answer(Placement(), strategy), answer(HALF, strategy)
    assert not np.array_equal(exact, half)
    assert np.abs(exact - half).max() < 0.05  # Chunks of different noise differ by more.


def test_matrices_are_halved_and_norms_are_not() -> None:
    source = shipped()
    policy = place(source.load('flow'), HALF)
    kinds = {(p.ndim > 1): p.dtype for network in policy.networks() for p in network.parameters()}
    assert kinds == {True: torch.bfloat16, False: torch.float32}
    observation = {n: torch.as_tensor(v[None]).float() for n, v in observed(source).items()}
    x = torch.zeros(2, policy.horizon, policy.action_dim, requires_grad=True)
    encoding = policy.repeat(policy.encode(observation), 2)
    v = policy.velocity(x, torch.full((2,), 0.5), encoding)
    assert v.dtype == torch.float32
    assert torch.autograd.grad(v.sum(), x)[0].abs().max() > 0


class Bent(FlowPolicy):
    horizon, action_dim = 4, 2

    def encode(self, observation: dict) -> Tensor:
        return torch.ones(1, 1, 1)

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Tensor) -> Tensor:
        return (actions * flow_time[:, None, None]).sin() + encoding


@pytest.mark.slow
def test_a_compiled_velocity_is_the_same() -> None:
    x, results = torch.linspace(-1, 1, 8).reshape(1, 4, 2).requires_grad_(), []
    for compiled in (False, True):
        policy = place(Bent(), Placement(compiled=compiled))
        v = policy.velocity(x, torch.tensor([0.5]), policy.encode({}))
        results.append((v.detach(), torch.autograd.grad(v.sum(), x)[0]))
    torch.testing.assert_close(results[0], results[1])
    assert results[0][1].abs().max() > 0.1


def test_the_default_leaves_a_policy_alone() -> None:
    policy = shipped().load('flow')
    assert place(policy, Placement()) is policy


@pytest.mark.skipif(torch.cuda.is_available(), reason='here is a GPU')
def test_a_device_that_is_not_there_is_refused() -> None:
    for device in ('cuda', 'nonsense'):
        with pytest.raises(PlacementError, match=f"device '{device}'.*device:=cpu"):
            Responder(shipped(), 0, Placement(device=device))


class ZeroChunk(ChunkPolicy):
    horizon, action_dim = 4, 2

    def chunk(self, observation: dict, generator: torch.Generator) -> Tensor:
        return torch.zeros(1, 4, 2, dtype=torch.float16)


def test_a_chunk_policy_is_moved_and_cannot_be_compiled() -> None:
    assert place(ZeroChunk(), HALF).chunk({}, torch.Generator()).dtype == torch.float32
    with pytest.raises(PlacementError, match='velocity'):
        place(ZeroChunk(), Placement(compiled=True))


class Counting(FlowPolicy):
    """Notes what is asked of it."""

    horizon, action_dim, num_steps = 4, 2, 2

    def __init__(self) -> None:
        self.batches: list[tuple[int, bool]] = []

    def encode(self, observation: dict) -> Tensor:
        return torch.zeros(1, 1)

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Tensor) -> Tensor:
        self.batches.append((len(actions), actions.requires_grad))
        return -actions


class CountedSource(PolicySource):
    title, horizon, action_dim, expects = 'source', 4, 2, {}
    offers = frozenset({'velocity', 'gradients'})

    def __init__(self) -> None:
        self.policy = Counting()
        self.loads = 0

    def policy_for(self, strategy: Strategy, device: torch.device | str = 'cpu') -> Counting:
        self.loads += 1
        return self.policy


@pytest.mark.parametrize(('strategy', 'call'), [('rtc', (1, True)), ('bid', (16, False))])
def test_warming_up_makes_the_calls_of_the_strategy_in_use(strategy: str, call: tuple) -> None:
    source = CountedSource()
    responder = Responder(source)
    responder.warm_up(strategy, {})
    assert call in source.policy.batches
    boundary = Boundary(np.zeros((4, 2)), 1, 1)
    assert not responder.answer(ChunkRequest(1, 1, 0, strategy, boundary), {}).refusal
    assert source.loads == 1


def test_a_rehearsal_between_two_requests_leaves_the_samplers_state_alone(monkeypatch) -> None:
    """Each strategy is given back what its own last answer left."""
    given = []

    def sample(policy, sampler, observation, boundary, generator, state):
        given.append(state)
        return torch.zeros(1, 4, 2), (state or 0) + 1

    monkeypatch.setattr('async_chunking.policies.responder.sample_chunk', sample)
    responder = Responder(CountedSource())
    rehearsal = responder.rehearse('rtc', {})
    assert next(rehearsal) == math.inf  # Loaded.
    for number in range(3):
        request = ChunkRequest(1, number, 0, 'naive', Boundary(np.zeros((4, 2)), 1, 1))
        assert not responder.answer(request, {}).refusal
        assert next(rehearsal) < math.inf
    assert next(rehearsal, None) is None
    assert given == [None, None, 1, 1, 2, 2]  # In turns.


def test_a_rehearsal_that_fails_leaves_the_samplers_state_alone(monkeypatch) -> None:
    given = []

    def sample(policy, sampler, observation, boundary, generator, state):
        if not boundary.previous.shape[1]:  # What is made up begins without a plan.
            raise PolicyError('no')
        given.append(state)
        return torch.zeros(1, 4, 2), (state or 0) + 1

    monkeypatch.setattr('async_chunking.policies.responder.sample_chunk', sample)
    responder = Responder(CountedSource())
    request = ChunkRequest(1, 1, 0, 'naive', Boundary(np.zeros((4, 2)), 1, 1))
    responder.answer(request, {})
    with pytest.raises(AsyncChunkingError, match='no'):
        responder.warm_up('rtc', {})
    responder.answer(request, {})
    assert given == [None, 1]


def test_spelling_a_constant_anew_loads_no_policy_again() -> None:
    source = CountedSource()
    responder = Responder(source)
    boundary = Boundary(np.zeros((4, 2)), 1, 1)

    def ask(strategy: str) -> str:
        return responder.answer(ChunkRequest(1, 1, 0, strategy, boundary), {}).refusal

    for weight in ('.5', '0.5', '5e-1', *map(str, range(100))):
        assert not ask(f'rtc:max_guidance_weight={weight}')
    assert source.loads == 1
    assert len(responder._services) == 16  # Nor does memory grow with what peers make up.
    assert not ask('bid:samples=2')
    assert source.loads == 2
    steps = len(source.policy.batches)
    assert not ask('rtc:num_steps=3')
    assert len(source.policy.batches) - steps == 3  # The constant counts all the same.


def test_the_policy_node_is_told_how_to_run_and_what_to_warm_up() -> None:
    given = {'strategy': 'paint', 'precision': 'bfloat16', 'compile': True, 'device': 'cuda:1'}
    nodes = {spec.name: spec.parameters for spec in describe('viperx', given).nodes}
    assert {key: nodes['policy'][key] for key in given} == given
    with pytest.raises(ValueError, match='precision'):
        describe('viperx', {'precision': 'int8'})
