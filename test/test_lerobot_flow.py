# SPDX-License-Identifier: Apache-2.0
"""The adapter of LeRobot's flow policies, on a model in the shape of π0."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

pytest.importorskip('transformers')
import pi0_shaped
from pi0_shaped import CAMERA, DIM, EXPECTS, HORIZON, STATE, WIDE, Pi0ShapedPolicy

from async_chunking.chunk import Boundary
from async_chunking.policies.base import FlowPolicy
from async_chunking.policies.lerobot.policy import LeRobotFlow, Processors
from async_chunking.policies.networks.network import ObservationError
from async_chunking.policies.placed import Placement, place
from async_chunking.policies.reversed import Reversed
from async_chunking.samplers.base import sample_chunk
from async_chunking.strategies import SAMPLERS

OFFERS = frozenset({'velocity', 'gradients', 'per_token_time'})


@pytest.fixture(scope='module')
def foreign() -> Pi0ShapedPolicy:
    return Pi0ShapedPolicy()


@pytest.fixture(scope='module')
def policy(foreign: Pi0ShapedPolicy) -> FlowPolicy:
    return adapted(foreign)


def adapted(foreign: Pi0ShapedPolicy) -> FlowPolicy:
    processors = Processors(pi0_shaped.before, pi0_shaped.after, EXPECTS, DIM)
    shapes = SimpleNamespace(horizon=HORIZON, action_dim=DIM, num_steps=4, offers=OFFERS)
    return Reversed(LeRobotFlow(foreign, processors, shapes))


def lerobot_batch(observation: dict) -> dict[str, Tensor]:
    image = observation[CAMERA].permute(0, 3, 1, 2) / 255.0
    return pi0_shaped.before({**observation, CAMERA: image})


def noise(batch: int = 1) -> Tensor:
    return torch.randn(batch, HORIZON, WIDE, generator=torch.Generator().manual_seed(1))


def test_the_cached_velocity_is_that_of_the_whole_forward_pass(
    policy: FlowPolicy, foreign: Pi0ShapedPolicy
) -> None:
    observation, x = pi0_shaped.observation(2), noise(2)
    flow_time = torch.tensor([0.3, 0.8])
    expected = -foreign.model.joint(lerobot_batch(observation), x, 1.0 - flow_time)
    velocity = policy.velocity(x, flow_time, policy.encode(observation))
    torch.testing.assert_close(velocity, expected, rtol=1e-4, atol=1e-5)
    other = policy.velocity(x, 1.0 - flow_time, policy.encode(observation))
    assert (velocity - other).abs().max() > 1e-3  # Time matters, and has a direction.


def test_an_observation_is_encoded_once_and_the_cache_stays_as_it_was(
    policy: FlowPolicy, foreign: Pi0ShapedPolicy
) -> None:
    before = foreign.model.prefixes
    boundary = Boundary(torch.zeros(1, 4, DIM), 2, 2)
    for name in ('plain', 'paint', 'rtc', 'bid'):
        sample_chunk(
            policy, SAMPLERS[name].load(), pi0_shaped.observation(), boundary, torch.Generator()
        )
    assert foreign.model.prefixes == before + 4
    encoding = policy.encode(pi0_shaped.observation())
    first = policy.velocity(noise(), torch.tensor([0.5]), encoding)
    torch.testing.assert_close(policy.velocity(noise(), torch.tensor([0.5]), encoding), first)


def test_words_and_pictures_reach_the_velocity(policy: FlowPolicy) -> None:
    observation = pi0_shaped.observation()
    plain = policy.velocity(noise(), torch.tensor([0.5]), policy.encode(observation))
    for change in ({'task': ['put box']}, {CAMERA: 255 - observation[CAMERA]}):
        encoding = policy.encode({**observation, **change})
        other = policy.velocity(noise(), torch.tensor([0.5]), encoding)
        assert (other - plain).abs().max() > 1e-5


def test_repeating_an_encoding_serves_each_sample_by_itself(policy: FlowPolicy) -> None:
    encoding = policy.encode(pi0_shaped.observation(2))
    x, flow_time = noise(6), torch.full((6,), 0.4)
    together = policy.velocity(x, flow_time, policy.repeat(encoding, 3))
    for element in range(2):
        observation = {
            name: values[element : element + 1]
            for name, values in pi0_shaped.observation(2).items()
        }
        single = policy.encode(observation)
        rows = slice(3 * element, 3 * element + 3)
        alone = torch.cat([policy.velocity(a[None], flow_time[:1], single) for a in x[rows]])
        torch.testing.assert_close(together[rows], alone, rtol=1e-4, atol=1e-5)


def test_plain_draws_what_the_policy_itself_draws(
    policy: FlowPolicy, foreign: Pi0ShapedPolicy
) -> None:
    observation = pi0_shaped.observation()
    boundary = Boundary(torch.zeros(1, 0, DIM), 0, 2)
    generator = torch.Generator().manual_seed(5)
    chunk = sample_chunk(policy, SAMPLERS['plain'].load(), observation, boundary, generator)
    drawn = torch.randn(1, HORIZON, WIDE, generator=torch.Generator().manual_seed(5))
    expected = 2 * foreign.predict_action_chunk(lerobot_batch(observation), drawn)
    torch.testing.assert_close(chunk.actions, expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_is_that_of_the_network(policy: FlowPolicy) -> None:
    encoding = policy.encode(pi0_shaped.observation())
    x, pull, way = noise(), torch.ones(1, HORIZON, WIDE), 1e-2 * noise().roll(1, 1)
    start = x.clone().requires_grad_()
    v = policy.velocity(start, torch.tensor([0.5]), encoding)
    (gradient,) = torch.autograd.grad(v, start, pull)
    ends = (policy.velocity(x + s * way, torch.tensor([0.5]), encoding) for s in (1, -1))
    plus, minus = (float((v * pull).sum()) for v in ends)
    assert float((gradient * way).sum()) == pytest.approx((plus - minus) / 2, rel=2e-2, abs=1e-4)


def test_spare_columns_are_padded_and_cut(policy: FlowPolicy) -> None:
    actions = torch.arange(6.0).reshape(1, 2, DIM)
    normalized = policy.normalize(actions, pi0_shaped.observation())
    assert normalized.shape == (1, 2, WIDE)
    torch.testing.assert_close(normalized[..., :DIM], actions / 2)
    assert not normalized[..., DIM:].any()
    torch.testing.assert_close(policy.denormalize(normalized, {}), actions)
    assert policy.normalize(actions[:, :0], pi0_shaped.observation()).shape == (1, 0, WIDE)


@pytest.mark.parametrize('name', [n for n, e in SAMPLERS.items() if e.needs <= OFFERS])
def test_every_sampler_that_needs_no_training_runs(policy: FlowPolicy, name: str) -> None:
    plan = torch.full((1, 4, DIM), 0.3)
    boundary, generator = Boundary(plan, 2, 2), torch.Generator().manual_seed(0)
    chunk = sample_chunk(
        policy, SAMPLERS[name].load(), pi0_shaped.observation(), boundary, generator
    )
    assert chunk.actions.shape == (1, HORIZON, DIM)
    free = Boundary(plan[:, :0], 0, 2)
    generator = torch.Generator().manual_seed(0)
    plain = sample_chunk(
        policy, SAMPLERS['plain'].load(), pi0_shaped.observation(), free, generator
    )
    gaps = [(draw.actions - plan[:, :1])[:, :2].abs().mean() for draw in (chunk, plain)]
    if name in ('rtc', 'rtc_identity', 'paint', 'paint_dpm2', 'paint_slide', 'bid'):
        assert gaps[0] < gaps[1]


def test_half_precision_stays_near(policy: FlowPolicy) -> None:
    encoding = policy.encode(pi0_shaped.observation())
    exact = policy.velocity(noise(), torch.tensor([0.5]), encoding)
    twin = Pi0ShapedPolicy()
    half = place(adapted(twin), Placement(precision='bfloat16'))
    assert {p.dtype for p in twin.model.parameters() if p.ndim > 1} == {torch.bfloat16}
    assert {p.dtype for p in twin.model.parameters() if p.ndim == 1} == {torch.float32}
    velocity = half.velocity(noise(), torch.tensor([0.5]), half.encode(pi0_shaped.observation()))
    assert velocity.dtype == torch.float32
    torch.testing.assert_close(velocity, exact, rtol=0.05, atol=0.05)
    assert not torch.equal(velocity, exact)


def test_a_missing_stream_and_a_wrong_size_are_named(policy: FlowPolicy) -> None:
    observation = pi0_shaped.observation()
    with pytest.raises(ObservationError, match=CAMERA):
        policy.encode({n: v for n, v in observation.items() if n != CAMERA})
    with pytest.raises(ObservationError, match='task'):
        policy.normalize(torch.zeros(1, 2, DIM), {n: observation[n] for n in (STATE, CAMERA)})
    with pytest.raises(ObservationError, match=r'\[4\].*\[5\]'):
        policy.encode({**observation, STATE: torch.zeros(1, 5)})
    with pytest.raises(ObservationError, match=r'\[16, 16, 3\].*\[8, 16, 3\]'):
        policy.encode({**observation, CAMERA: observation[CAMERA][:, :8]})


def test_equal_times_of_rows_are_the_time_of_all(policy: FlowPolicy) -> None:
    encoding, x = policy.encode(pi0_shaped.observation(2)), noise(2)
    once = torch.tensor([0.3, 0.8])
    velocity = policy.velocity(x, once[:, None].expand(-1, HORIZON), encoding)
    torch.testing.assert_close(velocity, policy.velocity(x, once, encoding), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(policy.velocity(x, once, encoding), velocity, rtol=1e-5, atol=1e-6)


def test_the_time_of_a_row_is_seen_in_its_direction(
    policy: FlowPolicy, foreign: Pi0ShapedPolicy
) -> None:
    encoding, x = policy.encode(pi0_shaped.observation()), noise()
    times = torch.full((1, HORIZON), 0.3)
    times[:, :2] = 1.0
    velocity = policy.velocity(x, times, encoding)
    for other in (1.0 - times, times.flip(1), torch.full_like(times, 0.3)):
        assert (policy.velocity(x, other, encoding) - velocity).abs().max() > 1e-4
    free = torch.full((1, 0, DIM), 0.0)
    plan = torch.full((1, 4, DIM), 0.3)
    for boundary, held in ((Boundary(free, 0, 2), 0), (Boundary(plan, 2, 2), 2)):
        drawn = sample_chunk(
            policy, SAMPLERS['tt_rtc'].load(), pi0_shaped.observation(), boundary,
            torch.Generator().manual_seed(0),
        )  # fmt: skip
        torch.testing.assert_close(drawn.actions[:, :held], plan[:, :held])
