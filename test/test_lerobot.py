# SPDX-License-Identifier: Apache-2.0
"""
Checkpoints of LeRobot through its own classes, with random weights: `make test-lerobot`.

Without the package lerobot all of them are skipped; test_lerobot_flow.py and
test_lerobot_source.py need it not.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip('lerobot', reason='lerobot is not installed here: make test-lerobot')
import lerobot_tiny
from lerobot_tiny import CAMERA, DIM, IMAGE

from async_chunking.chunk import Boundary, ChunkRequest
from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.base import ChunkPolicy, FlowPolicy
from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.lerobot.source import LeRobotSource
from async_chunking.policies.networks.network import ObservationError
from async_chunking.policies.placed import Placement, place
from async_chunking.policies.responder import Responder
from async_chunking.samplers.base import sample_chunk
from async_chunking.samplers.rtc import Rtc
from async_chunking.strategies import SAMPLERS, STRATEGIES

NAIVE = STRATEGIES['naive']
FLOW = {'velocity', 'gradients', 'per_token_time'}
SHAPES = {
    'observation.state': (DIM,), 'observation.environment_state': (7,), CAMERA: (*IMAGE, 3),
    'task': (),
}  # fmt: skip


@pytest.fixture(scope='session')
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    folder = tmp_path_factory.mktemp('lerobot')
    patch = pytest.MonkeyPatch()
    has_pi = lerobot_tiny.shrink_pi(patch)

    def make(kind: str) -> Path:
        if kind in ('pi0', 'pi05') and not has_pi:
            pytest.skip('this release of lerobot wants a fork of transformers for π0')
        path = folder / kind
        return path if path.exists() else lerobot_tiny.MAKERS[kind](path)

    yield make
    patch.undo()


@pytest.fixture
def source(made: Callable[[str], Path], request: pytest.FixtureRequest) -> LeRobotSource:
    return LeRobotSource(made(request.param))


@pytest.fixture(scope='module', params=['smolvla', 'pi0', 'pi05'])
def path(made: Callable[[str], Path], request: pytest.FixtureRequest) -> Path:
    return made(request.param)


@pytest.fixture(scope='module')
def flow(path: Path) -> FlowPolicy:
    policy = LeRobotSource(path).policy_for(NAIVE)
    assert isinstance(policy, FlowPolicy)
    return policy


def observation(source: LeRobotSource | None = None) -> dict[str, Any]:
    """Return what arrives at a policy, for all that a source reads."""
    numbers = np.random.default_rng(4)
    values: dict[str, Any] = {}
    for name, shape in SHAPES.items() if source is None else source.expects.items():
        if not shape:
            values[name] = ['lift the red cup']
        elif len(shape) == 3:
            values[name] = torch.as_tensor(numbers.integers(0, 255, (1, *shape), dtype=np.uint8))
        else:
            values[name] = torch.as_tensor(0.1 * numbers.random((1, *shape)), dtype=torch.float32)
    return values


def theirs(path: Path) -> tuple[Any, Any, Any]:
    """Return LeRobot's policy and its two processors, loaded as LeRobot's documentation does."""
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    config = PreTrainedConfig.from_pretrained(path)
    policy = get_policy_class(config.type).from_pretrained(path)
    return policy, *make_pre_post_processors(config, pretrained_path=str(path))


def as_lerobot(given: dict[str, Any]) -> dict[str, Any]:
    sent = dict(given)
    if CAMERA in sent:
        sent[CAMERA] = sent[CAMERA].permute(0, 3, 1, 2) / 255.0
    return sent


# --- chunk policies ---------------------------------------------------------------------------


def test_act_answers_as_lerobot_does(made: Callable[[str], Path]) -> None:
    source = LeRobotSource(made('act'))
    policy, before, after = theirs(source.path)
    given = observation(source)
    expected = after(policy.predict_action_chunk(before(as_lerobot(given))))
    chunk = source.policy_for(NAIVE).chunk(given, torch.Generator())
    assert chunk.shape == (1, 20, DIM) == (1, source.horizon, source.action_dim)
    torch.testing.assert_close(chunk, expected)


def test_diffusion_answers_as_lerobot_does_when_it_stands_still(
    made: Callable[[str], Path],
) -> None:
    source = LeRobotSource(made('diffusion'))
    policy, before, after = theirs(source.path)
    given = observation(source)
    chunk = source.policy_for(NAIVE).chunk(given, torch.Generator().manual_seed(2))
    assert chunk.shape == (1, 15, DIM) == (1, source.horizon, source.action_dim)
    torch.manual_seed(int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(2))))
    # At the start of an episode it, too, takes its first observation twice.
    first = policy.select_action(before(as_lerobot(given)))
    expected = torch.stack([first, *policy._queues['action']], 1)
    torch.testing.assert_close(chunk[:, : expected.shape[1]], after(expected))


def test_diffusion_reads_the_past_if_it_is_given(made: Callable[[str], Path]) -> None:
    source = LeRobotSource(made('diffusion'))
    policy, given = source.policy_for(NAIVE), observation(source)
    drawn = [
        policy.chunk(seen, torch.Generator().manual_seed(2))
        for seen in (
            given,
            {n: torch.stack([v, v], 1) for n, v in given.items()},
            {n: torch.stack([v - 0.1, v], 1) for n, v in given.items()},
        )
    ]
    torch.testing.assert_close(drawn[0], drawn[1])
    assert (drawn[2] - drawn[0]).abs().max() > 1e-4


def test_diffusion_stacks_its_cameras(tmp_path: Path) -> None:
    read, _ = lerobot_tiny.features('camera')
    small = {'crop_shape': None, 'spatial_softmax_num_keypoints': 4, 'use_group_norm': True}
    path = lerobot_tiny.diffusion(tmp_path / 'seeing', input_features=read, **small)
    source = LeRobotSource(path)
    policy, before, after = theirs(path)
    given = observation(source)
    chunk = source.policy_for(NAIVE).chunk(given, torch.Generator().manual_seed(2))
    torch.manual_seed(int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(2))))
    first = after(policy.select_action(before(as_lerobot(given))))
    torch.testing.assert_close(chunk[:, 0], first)


@pytest.mark.parametrize('source', ['act', 'diffusion'], indirect=True)
def test_a_chunk_policy_draws_the_same_from_the_same_seed(source: LeRobotSource) -> None:
    policy, given = source.policy_for(NAIVE), observation(source)
    assert isinstance(policy, ChunkPolicy)
    first, again, other = (
        policy.chunk(given, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    torch.testing.assert_close(first, again)
    assert torch.allclose(first, other) == (source.type == 'act')


@pytest.mark.parametrize('source', ['act', 'diffusion'], indirect=True)
def test_mergers_run_on_a_chunk_policy_and_velocity_is_refused(source: LeRobotSource) -> None:
    responder = Responder(source)
    for name in ('sync', 'naive', 'ensemble', 'bspline'):
        assert answer(responder, source, name).actions.shape == (source.horizon, DIM)
    for name in ('rtc', 'rtc_identity', 'paint', 'bid'):
        refused = answer(responder, source, name)
        assert refused.actions.shape == (0, DIM)
        assert name in refused.refusal
        assert 'velocity' in refused.refusal


def test_half_precision_draws_nearly_the_same_chunk(made: Callable[[str], Path]) -> None:
    given, chunks = observation(LeRobotSource(made('act'))), []
    for placement in (Placement(), Placement(precision='bfloat16')):
        policy = place(LeRobotSource(made('act')).policy_for(NAIVE), placement)
        chunks.append(policy.chunk(given, torch.Generator()))
    assert chunks[1].dtype == torch.float32
    assert not torch.equal(*chunks)
    torch.testing.assert_close(chunks[1], chunks[0], rtol=0.05, atol=0.005)


# --- flow policies ----------------------------------------------------------------------------


def answer(responder: Responder, source: LeRobotSource, strategy: str) -> Any:
    given = {
        n: v[0] if isinstance(v, list) else v[0].numpy() for n, v in observation(source).items()
    }
    plan = np.full((8, DIM), 0.1)
    return responder.answer(ChunkRequest(1, 1, 0, strategy, Boundary(plan, 3, 4)), given)


def test_every_flow_strategy_answers(path: Path) -> None:
    source = LeRobotSource(path)
    responder = Responder(source)
    possible = [name for name, s in STRATEGIES.items() if s.needs <= FLOW]
    assert {'naive', 'rtc', 'rtc_identity', 'paint', 'paint_slide', 'bid'} <= set(possible)
    for name in possible:
        chunk = answer(responder, source, name)
        assert not chunk.refusal
        assert chunk.actions.shape == (16, DIM)
        assert len(chunk.checkpoint) == 64
    for name in set(STRATEGIES) - set(possible):
        assert 'This policy can run' in answer(responder, source, name).refusal


def test_plain_draws_what_lerobot_draws(path: Path, flow: FlowPolicy) -> None:
    policy, before, after = theirs(path)
    given = observation()
    noise = torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(5))
    expected = after(policy.predict_action_chunk(before(as_lerobot(given)), noise=noise))
    free = Boundary(torch.zeros(1, 0, DIM), 0, 4)
    chunk = sample_chunk(
        flow, SAMPLERS['plain'].load(), given, free, torch.Generator().manual_seed(5)
    )
    torch.testing.assert_close(chunk.actions, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('delay', 'rows', 'interval'), [(3, 16, 4), (0, 9, 8), (5, 12, 6)])
def test_rtc_without_jacobian_is_lerobots_rtc(
    path: Path, flow: FlowPolicy, delay: int, rows: int, interval: int
) -> None:
    from lerobot.configs.types import RTCAttentionSchedule
    from lerobot.policies.rtc.configuration_rtc import RTCConfig

    policy, before, after = theirs(path)
    policy.config.rtc_config = RTCConfig(
        enabled=True, max_guidance_weight=10.0,
        prefix_attention_schedule=RTCAttentionSchedule.LINEAR,
    )  # fmt: skip
    policy.init_rtc_processor()
    given = observation()
    plan = 0.1 + 0.01 * torch.randn(1, rows, DIM, generator=torch.Generator().manual_seed(1))
    boundary = Boundary(plan, delay, interval)
    noise = torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(5))
    batch = before({**as_lerobot(given), 'action': plan})
    expected = after(
        policy.predict_action_chunk(
            batch, noise=noise, inference_delay=delay, prev_chunk_left_over=batch['action'],
            execution_horizon=boundary.overlap(16),
        )
    )  # fmt: skip
    ours = Rtc(max_guidance_weight=10.0, schedule='linear', jacobian=False)
    chunk = sample_chunk(flow, ours, given, boundary, torch.Generator().manual_seed(5))
    torch.testing.assert_close(chunk.actions, expected, rtol=1e-4, atol=1e-5)
    whole = Rtc(max_guidance_weight=10.0, schedule='linear')
    other = sample_chunk(flow, whole, given, boundary, torch.Generator().manual_seed(5))
    assert (other.actions - expected).abs().max() > 1e-4  # The paper's is another.


def test_the_cached_velocity_is_that_of_lerobots_training_pass(
    path: Path, flow: FlowPolicy
) -> None:
    policy, before, _ = theirs(path)
    given = observation()
    numbers = torch.Generator().manual_seed(6)
    noise, actions = (torch.randn(1, 16, 32, generator=numbers) for _ in range(2))
    flow_time = torch.tensor([0.3])
    seen: list[Tensor] = []
    policy.model.action_out_proj.register_forward_hook(lambda _m, _i, out: seen.append(out))
    batch = before(as_lerobot(given))
    prepare = policy.prepare_images if policy.name == 'smolvla' else policy._preprocess_images
    images, masks = prepare(batch)
    state = () if policy.name == 'pi05' else (policy.prepare_state(batch),)
    tokens = batch['observation.language.tokens'], batch['observation.language.attention_mask']
    with torch.no_grad():
        policy.eval().model.forward(images, masks, *tokens, *state, actions, noise, 1 - flow_time)
        x = (1 - flow_time) * noise + flow_time * actions
        velocity = flow.velocity(x, flow_time, flow.encode(given))
    torch.testing.assert_close(velocity, -seen[0], rtol=1e-3, atol=1e-4)


def test_equal_times_of_rows_are_the_time_of_all(flow: FlowPolicy) -> None:
    x = torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(6))
    encoding, once = flow.repeat(flow.encode(observation()), 2), torch.tensor([0.3, 0.8])
    velocity = flow.velocity(x, once[:, None].expand(-1, 16), encoding)
    torch.testing.assert_close(velocity, flow.velocity(x, once, encoding), rtol=1e-4, atol=1e-5)


def test_the_time_of_a_row_is_seen_in_its_direction(flow: FlowPolicy) -> None:
    x = torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(6))
    encoding, times = flow.encode(observation()), torch.full((1, 16), 0.3)
    times[:, :3] = 1.0
    velocity = flow.velocity(x, times, encoding)
    for other in (1.0 - times, times.flip(1), torch.full_like(times, 0.3)):
        assert (flow.velocity(x, other, encoding) - velocity).abs().max() > 1e-4


def test_a_prefix_at_the_end_of_its_time_is_kept(flow: FlowPolicy) -> None:
    plan = 0.1 + 0.01 * torch.rand(1, 8, DIM, generator=torch.Generator().manual_seed(1))
    drawn = sample_chunk(
        flow, SAMPLERS['tt_rtc'].load(), observation(), Boundary(plan, 3, 4), torch.Generator()
    )
    torch.testing.assert_close(drawn.actions[:, :3], plan[:, :3])


def expected_numbers(kind: str, actions: Tensor) -> Tensor:
    stats = lerobot_tiny.statistics()['action']
    if kind == 'pi05':
        return 2 * (actions - stats['q01']) / (stats['q99'] - stats['q01']) - 1
    return (actions - stats['mean']) / stats['std']


def test_normalisation_is_lerobots_and_turns_back(path: Path, flow: FlowPolicy) -> None:
    plan = 0.3 * torch.rand(1, 5, DIM, generator=torch.Generator().manual_seed(1))
    normalized = flow.normalize(plan, observation())
    assert normalized.shape == (1, 5, 32)
    expected = expected_numbers(path.name, plan)
    torch.testing.assert_close(normalized[..., :DIM], expected, rtol=1e-4, atol=1e-4)
    assert not normalized[..., DIM:].any()
    torch.testing.assert_close(flow.denormalize(normalized, observation()), plan)


def test_relative_actions_are_anchored_to_the_state_of_the_request(
    made: Callable[[str], Path], tmp_path: Path
) -> None:
    made('pi0')  # Skips where there is none.
    path = lerobot_tiny.pi0(tmp_path / 'relative', use_relative_actions=True)
    flow = LeRobotSource(path).policy_for(NAIVE)
    plan = 0.1 + 0.01 * torch.rand(1, 5, DIM, generator=torch.Generator().manual_seed(1))
    for state in (0.0, 0.25):
        given = {**observation(), 'observation.state': torch.full((1, DIM), state)}
        normalized = flow.normalize(plan, given)
        expected = expected_numbers('pi0', plan - state)
        torch.testing.assert_close(normalized[..., :DIM], expected, rtol=1e-4, atol=1e-4)
        flow.encode(given)
        torch.testing.assert_close(flow.denormalize(normalized, given), plan)
        chunk = sample_chunk(
            flow, SAMPLERS['rtc'].load(), given, Boundary(plan, 4, 1), torch.Generator()
        )
        assert (chunk.actions[:, :4] - plan[:, :4]).abs().mean() < 0.01


@pytest.mark.slow
def test_compiled_and_halved_velocities_stay_near(made: Callable[[str], Path]) -> None:
    given = observation()
    x, flow_time = torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(5)), 0.4
    results = []
    for placement in (
        Placement(), Placement(compiled=True), Placement(precision='bfloat16'),
    ):  # fmt: skip
        policy = place(LeRobotSource(made('smolvla')).policy_for(NAIVE), placement)
        start = x.clone().requires_grad_()
        v = policy.velocity(start, torch.full((1,), flow_time), policy.encode(given))
        assert v.dtype == torch.float32
        results.append((v.detach(), torch.autograd.grad(v.sum(), start)[0]))
    for exact, compiled, half in zip(*results, strict=True):
        torch.testing.assert_close(compiled, exact, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(half, exact, rtol=0.1, atol=0.05)


# --- what cannot be used ----------------------------------------------------------------------


def changed(path: Path, folder: Path, **config: Any) -> Path:
    shutil.copytree(path, folder)
    file = folder / 'config.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return folder


def test_weights_that_would_stay_random_are_refused(
    made: Callable[[str], Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    path = changed(made('smolvla'), tmp_path / 'torn')
    weights = load_file(path / 'model.safetensors')
    del weights['model.action_out_proj.weight']
    save_file(weights, path / 'model.safetensors')
    with pytest.raises(CheckpointError, match=r'lacks model\.action_out_proj\.weight \[32, 24\]'):
        LeRobotSource(path).policy_for(NAIVE)


@pytest.mark.parametrize('kind', ['pi0', 'pi05'])
def test_official_weights_lack_words_that_are_tied_to_the_head(
    made: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    from safetensors.torch import load_file, save_file

    path = changed(made(kind), tmp_path / 'official')
    weights = load_file(path / 'model.safetensors')
    inside = 'model.paligemma_with_expert.paligemma.'
    head, words = f'{inside}lm_head.weight', f'{inside}model.language_model.embed_tokens.weight'
    del weights[words]
    save_file(weights, path / 'model.safetensors')
    policy = LeRobotSource(path).policy_for(NAIVE)
    loaded = policy.networks()[0].model.paligemma_with_expert.paligemma
    torch.testing.assert_close(
        loaded.model.language_model.embed_tokens.weight, weights[head], rtol=0, atol=0
    )
    del weights[head]
    save_file(weights, path / 'model.safetensors')
    with pytest.raises(CheckpointError, match='lacks'):
        LeRobotSource(path).policy_for(NAIVE)


def test_a_checkpoint_that_lerobot_trained_behind_prefixes_serves_tt_rtc(
    made: Callable[[str], Path], tmp_path: Path
) -> None:
    source = LeRobotSource(changed(made('pi05'), tmp_path / 'rtc', rtc_training_max_delay=4))
    chunk = answer(Responder(source), source, 'tt_rtc')
    assert not chunk.refusal
    np.testing.assert_allclose(chunk.actions[:3], 0.1, atol=1e-5)


def test_weights_of_another_shape_are_refused(made: Callable[[str], Path], tmp_path: Path) -> None:
    path = changed(made('diffusion'), tmp_path / 'wide', down_dims=[32, 64])
    with pytest.raises(CheckpointError, match='LeRobot cannot load it'):
        LeRobotSource(path).policy_for(NAIVE)


def test_a_missing_stream_and_a_wrong_picture_are_named(flow: FlowPolicy) -> None:
    given = observation()
    with pytest.raises(ObservationError, match='task'):
        flow.encode({n: v for n, v in given.items() if n != 'task'})
    with pytest.raises(ObservationError, match=r'\[24, 32, 3\].*\[48, 64, 3\]'):
        flow.encode({**given, CAMERA: torch.zeros(1, 48, 64, 3, dtype=torch.uint8)})


def test_a_plan_of_another_robot_is_refused(flow: FlowPolicy) -> None:
    boundary = Boundary(torch.zeros(1, 4, 7), 2, 2)
    with pytest.raises(AsyncChunkingError, match=r'7 columns.*14'):
        sample_chunk(flow, SAMPLERS['plain'].load(), observation(), boundary, torch.Generator())
