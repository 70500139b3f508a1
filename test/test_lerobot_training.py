# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""The recipes on LeRobot's classes, at tiny size: `make test-lerobot`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

lerobot = pytest.importorskip(
    'lerobot.datasets.lerobot_dataset', reason='lerobot is not installed here: make test-lerobot'
)
import lerobot_tiny
from lerobot_tiny import CAMERA, DIM, IMAGE

from async_chunking.chunk import Boundary, ChunkRequest
from async_chunking.dataset.reading import read_demonstrations
from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.lerobot.adapters import CONFIG, WEIGHTS
from async_chunking.policies.lerobot.trained import TrainedSource, digests
from async_chunking.policies.responder import Responder
from async_chunking.strategies import STRATEGIES
from async_chunking.training.command import LEROBOT, make_config
from async_chunking.training.loop import fit
from async_chunking.training.recipe import Recipe, TrainingError, TrainingInputs

KINDS = ('smolvla', 'pi0', 'pi05')
PREPARES = dict.fromkeys(KINDS, '_preprocess_images') | {'smolvla': 'prepare_images'}
RECIPES = ('tt_rtc', 'remac', 'vlash')
SMALL = ['steps=4', 'batch_size=4', 'rank=2', 'max_delay=3', 'learning_rate=0.01']
SMALL += ['warmup_steps=0', 'validate_every=2', 'save_every=2', 'validation_share=0.3']


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder, patch = tmp_path_factory.mktemp('lerobot'), pytest.MonkeyPatch()
    patch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    lerobot_tiny.shrink_pi(patch)
    yield {kind: lerobot_tiny.MAKERS[kind](folder / kind) for kind in KINDS}
    patch.undo()


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp('data') / 'set'
    vector = {'dtype': 'float32', 'shape': (DIM,), 'names': [f'j{i}' for i in range(DIM)]}
    names = ['height', 'width', 'channels']
    features = {
        'action': vector,
        'observation.state': vector,
        CAMERA: {'dtype': 'image', 'shape': (*IMAGE, 3), 'names': names},
    }
    written = lerobot.LeRobotDataset.create(
        'some/name', 25, features, root=place, robot_type='toy', use_videos=False
    )
    rng = np.random.default_rng(0)
    for length in (20, 24, 18):
        walk = (0.02 * rng.normal(size=(length, DIM))).cumsum(0).astype(np.float32)
        for row in walk:
            picture = rng.integers(0, 255, (*IMAGE, 3), dtype=np.uint8)
            written.add_frame(
                {'action': row, 'observation.state': row, CAMERA: picture, 'task': 'lift cup'}
            )
        written.save_episode()
    written.finalize()
    return place


def recipe(name: str, base: Path, data: Path, *settings: str) -> Recipe:
    config = make_config(name, [*SMALL, *settings], False, LEROBOT)
    demonstrations = read_demonstrations(data)
    inputs = TrainingInputs(
        demonstrations, '', demonstrations.robot, demonstrations.joint_names, base
    )
    return LEROBOT[name].load('recipe')(config, inputs, 'cpu')


def asked(strategy: str, delay: int = 2) -> tuple[ChunkRequest, dict[str, Any]]:
    picture = np.random.default_rng(4).integers(0, 255, (*IMAGE, 3), dtype=np.uint8)
    seen = {'observation.state': np.full(DIM, 0.05), CAMERA: picture, 'task': 'lift cup'}
    plan = np.linspace(0.0, 0.1, 8)[:, None] * np.ones(DIM)
    return ChunkRequest(1, 1, 0, strategy, Boundary(plan, delay, 4)), seen


@pytest.mark.parametrize('kind', KINDS)
def test_each_recipe_is_trained_saved_and_served_from_one_base(
    made: dict[str, Path], data: Path, tmp_path: Path, kind: str
) -> None:
    before = digests(made[kind])
    for name in RECIPES:
        history = fit(recipe(name, made[kind], data), tmp_path, quiet=True)
        assert np.isfinite([entry['validation'] for entry in history]).all()
        assert (tmp_path / name / CONFIG).is_file()
    assert digests(made[kind]) == before
    source = TrainedSource(tmp_path)
    assert source.joint_names == tuple(f'j{i}' for i in range(DIM))
    assert (source.policy_rate_hz, source.delays['recipe:remac']) == (25.0, (0, 3))
    responder, first = Responder(source), {}
    for name in ('naive', *RECIPES, 'naive', *RECIPES):
        answer = responder.answer(*asked(name))
        assert not answer.refusal
        assert np.isfinite(answer.actions).all()
        assert len(answer.checkpoint) == 64
        if name in first and name != 'naive':  # Prefixes; what follows them is drawn anew.
            np.testing.assert_allclose(answer.actions[:2], first[name][:2], atol=1e-5)
        first[name] = answer.actions
    networks = {id(source.policy_for(STRATEGIES[n]).networks()[0]) for n in ('naive', *RECIPES)}
    assert len(networks) == 1
    flows = [source.policy_for(STRATEGIES[name]) for name in ('naive', 'tt_rtc', 'naive')]
    _, seen = asked('naive')
    batch = {n: [v] if isinstance(v, str) else torch.as_tensor(v)[None] for n, v in seen.items()}
    batch['observation.state'] = batch['observation.state'].float()
    encoding, x, half = flows[0].encode(batch), torch.ones(1, 16, 32), torch.full((1,), 0.5)
    base, other, again = (flow.velocity(x, half, encoding) for flow in flows)
    assert (base - other).abs().max() > 1e-5  # The adapter is at work.
    torch.testing.assert_close(base, again, rtol=1e-5, atol=1e-6)  # And then it is not.


@pytest.mark.parametrize('kind', KINDS)
def test_gradients_are_those_of_lerobots_own_loss(
    made: dict[str, Path], data: Path, kind: str
) -> None:
    ours = recipe('tt_rtc', made[kind], data, 'max_delay=0')
    draws = ours.draw(ours.train, 2, 0.0, torch.Generator().manual_seed(0))
    draws['frame'] = ours.train.frames[:2]  # Chunks of 16 rows that end before their episodes.
    draws['rows'] = torch.full((2,), 16.0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # An adapter that is no longer zero, so that both halves learn.
        for weight in ours.network.parameters():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    ours.losses(ours.network, ours.train, draws).mean().backward()
    gradients = {n: p.grad.clone() for n, p in ours.network.named_parameters()}
    ours.network.zero_grad()
    theirs = ours.policy.networks()[0]
    ours.adapters.use('tt_rtc')
    from lerobot.policies.factory import make_pre_post_processors

    before, _ = make_pre_post_processors(theirs.config, pretrained_path=str(made[kind]))
    seen = ours.train.observation(draws['frame'])
    seen[CAMERA] = seen[CAMERA].permute(0, 3, 1, 2) / 255.0
    batch = before({**seen, 'action': ours.train.chunk(draws['frame'], 16)})
    images, masks = getattr(theirs, PREPARES[kind])(batch)
    words = batch['observation.language.tokens'], batch['observation.language.attention_mask']
    state = () if kind == 'pi05' else (theirs.prepare_state(batch),)
    actions = theirs.prepare_action(batch)
    noise, time = draws['noise'], 1.0 - draws['flow_time']
    losses = theirs.model.forward(images, masks, *words, *state, actions, noise, time)
    (losses[..., :DIM].mean() * DIM).backward()
    largest = max(gradient.abs().max() for gradient in gradients.values())
    assert largest > 1e-4
    for name, weight in ours.network.named_parameters():
        torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-3, atol=1e-5 * largest)


def test_a_run_that_was_interrupted_ends_the_same(
    made: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = recipe('remac', made['pi0'], data)
    history = fit(whole, tmp_path / 'whole', quiet=True)
    broken = recipe('remac', made['pi0'], data)
    kept = broken.draw
    monkeypatch.setattr(broken, 'draw', lambda *given: kept(*given) if given[2] != 0.75 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(broken, tmp_path / 'parts', quiet=True)
    file = tmp_path / 'parts' / 'remac.state.safetensors'
    sizes = sum(p.numel() for p in broken.network.parameters())
    assert file.stat().st_size < 4 * sizes * 4 + 200_000  # Of the adapter alone.
    again = fit(recipe('remac', made['pi0'], data), tmp_path / 'parts', resume=True, quiet=True)
    assert [e['train'] for e in again] == pytest.approx([e['train'] for e in history], rel=1e-5)


def test_recomputation_changes_nothing(made: dict[str, Path], data: Path) -> None:
    gradients = []
    for settings in ((), ('recompute=true',)):
        one = recipe('tt_rtc', made['smolvla'], data, *settings)
        draws = one.draw(one.train, 4, 0.0, torch.Generator().manual_seed(0))
        one.losses(one.network, one.train, draws).mean().backward()
        gradients.append([p.grad for p in one.network.parameters()])
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


def test_rows_after_the_end_of_an_episode_do_not_count(made: dict[str, Path], data: Path) -> None:
    one = recipe('tt_rtc', made['pi0'], data)
    last = one.train.later(one.train.frames[:1], torch.tensor([1000]))
    assert one.counted(one.train, last).sum() == 1
    assert one.counted(one.train, one.train.frames[:1]).all()


def test_what_does_not_fit_is_refused_with_the_remedy(
    made: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(made['pi0'], tmp_path / 'base')
    fit(recipe('remac', base, data), tmp_path / 'out', quiet=True)
    weights = tmp_path / 'out' / 'remac' / WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    source = TrainedSource(tmp_path / 'out')
    with pytest.raises(CheckpointError, match=r'of another recipe.*restore both'):
        source.policy_for(STRATEGIES['remac'])
    refused = Responder(source).answer(*asked('vlash')).refusal
    assert 'vlash' in refused
    other = json.loads((base / 'config.json').read_text()) | {'num_inference_steps': 9}
    (base / 'config.json').write_text(json.dumps(other))
    with pytest.raises(CheckpointError, match=r'config\.json.*trained on; restore it, or train'):
        TrainedSource(tmp_path / 'out')
    with pytest.raises(AsyncChunkingError, match='name another --out'):
        fit(recipe('tt_rtc', made['pi05'], data), tmp_path / 'out', quiet=True)
    with pytest.raises(TrainingError, match='max_delay = 16'):
        recipe('tt_rtc', made['pi0'], data, 'max_delay=16')
    narrow = read_demonstrations(data)
    object.__setattr__(narrow, 'actions', narrow.actions[:, :7])
    inputs = TrainingInputs(narrow, '', '', (), made['pi0'])
    config = make_config('remac', SMALL, False, LEROBOT)
    with pytest.raises(TrainingError, match=r'has 14 joints.* 7'):
        LEROBOT['remac'].load('recipe')(config, inputs, 'cpu')
