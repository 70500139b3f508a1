# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""The loop and its recipes: each trains, resumes where it was, and fails with a reason."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import demonstrations
import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('safetensors')

from safetensors.torch import load_file

from async_chunking.chunk import Boundary
from async_chunking.dataset.reading import read_demonstrations
from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.checkpoint.sidecar import read_sidecar
from async_chunking.policies.checkpoint.weights import load_policy
from async_chunking.samplers.base import sample_chunk
from async_chunking.samplers.plain import Plain
from async_chunking.settings import SettingsError
from async_chunking.storage import StorageError
from async_chunking.training import command, loop
from async_chunking.training.recipe import Recipe, TrainingError, TrainingInputs

without_peft = pytest.mark.skipif(find_spec('peft') is None, reason='needs peft')
EVERY = [
    pytest.param(name, marks=without_peft if name.startswith('remac') else ())
    for name in command.RECIPES
]
BASED = [name for name in command.RECIPES if command.RECIPES[name].base]
SAVED_AS = {'remac_act': 'act'}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return read_demonstrations(demonstrations.write(tmp_path_factory.mktemp('data')))


@pytest.fixture(scope='module')
def base(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp('base')
    for name in ('flow', 'act'):
        loop.fit(make(name, data, out), out, quiet=True)
    return out


def make(name: str, data, folder: Path, *settings: str) -> Recipe:
    entry = command.RECIPES[name]
    fitting = ['max_delay=3'] * (not name.startswith('a2c2')) if entry.base else ['horizon=6']
    config = command.make_config(name, [*fitting, *settings], debug=True)
    start = folder / entry.base if entry.base else None
    inputs = TrainingInputs(data, 'sines', 'toy', ('left', 'right'), start)
    return entry.load('recipe')(config, inputs)


class Break(Exception):
    """The power goes out."""


def interrupt_after(monkeypatch, updates: int):
    real = loop._update
    done = []

    def update(*arguments):
        if len(done) == updates:
            raise Break
        done.append(1)
        return real(*arguments)

    monkeypatch.setattr(loop, '_update', update)


@pytest.mark.parametrize('name', EVERY)
def test_a_resumed_run_ends_where_a_whole_one_does(name, data, base, tmp_path, monkeypatch):
    whole = loop.fit(make(name, data, base), tmp_path / 'whole', quiet=True)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4)  # One update after the state was saved.
        with pytest.raises(Break):
            loop.fit(make(name, data, base), tmp_path / 'parts', quiet=True)
    assert (tmp_path / 'parts' / f'{name}.state.safetensors').exists()
    parts = loop.fit(make(name, data, base), tmp_path / 'parts', resume=True, quiet=True)
    # Weights that lie elsewhere in memory may round otherwise; another draw, another learning rate
    # or an average that begins anew moves them by 3e-5 or more.
    for entry, expected in zip(parts, whole, strict=True):
        assert entry == pytest.approx(expected, rel=1e-5)
    saved = f'{SAVED_AS.get(name, name)}.safetensors'
    weights = [load_file(tmp_path / folder / saved) for folder in ('whole', 'parts')]
    torch.testing.assert_close(*weights, rtol=0.0, atol=5e-6)
    assert not (tmp_path / 'parts' / f'{name}.state.safetensors').exists()


@pytest.mark.parametrize('name', EVERY)
def test_a_recipe_changes_weights_and_says_where_they_come_from(name, data, base, tmp_path):
    recipe = make(name, data, base)
    before = {k: v.clone() for k, v in recipe.network.state_dict().items()}
    history = loop.fit(recipe, tmp_path, quiet=True)
    changed = [k for k, v in recipe.network.state_dict().items() if not torch.equal(v, before[k])]
    assert changed
    if name.startswith('remac'):
        adapters = re.compile(r'lora_|\.(down|up|mark)\.')
        assert all(adapters.search(name) for name in changed)
    assert all(np.isfinite([entry['train'], entry['validation']]).all() for entry in history)
    assert [entry['step'] for entry in history] == [3, 6]
    sidecar = read_sidecar(tmp_path / SAVED_AS.get(name, name))
    assert (sidecar.recipe, sidecar.task, sidecar.robot) == (name, 'sines', 'toy')
    assert sidecar.joint_names == ('left', 'right')
    assert sidecar.data == data.facts
    assert sidecar.training['config']['recipe'] == name
    expected = {'flow': None, 'act': None, 'a2c2': (0, 5), 'a2c2_paired': (0, 5)}
    assert sidecar.delay_range == expected.get(name, (0, 3))


def test_weights_are_averaged_over_few_updates_at_first_and_over_many_later(data, base):
    recipe = make('flow', data, base, 'ema=0.5')
    state = loop._begin(recipe)
    for step, kept in ((0, 1 / 10), (3, 4 / 13), (999, 0.5)):
        state.step = step
        before = {name: value.clone() for name, value in state.average.items()}
        loop._update(recipe, recipe.network, state, 0, 1)
        for name, value in recipe.network.state_dict().items():
            torch.testing.assert_close(
                state.average[name], kept * before[name] + (1.0 - kept) * value
            )
    assert not torch.allclose(value, before[name])


def test_flow_keeps_an_early_checkpoint_as_the_weak_policy(base):
    folder = PolicyDirectory(base)
    assert set(folder.sidecars) == {'flow', 'weak', 'act'}
    assert folder.sidecars['weak'].training['steps'] == 3
    assert folder.sidecars['weak'].weights_sha256 != folder.sidecars['flow'].weights_sha256
    assert 'weak_policy' in folder.offers


def test_training_lowers_the_loss(data, tmp_path):
    recipe = make('flow', data, tmp_path, 'steps=150', 'validate_every=75', 'batch_size=32')
    history = loop.fit(recipe, tmp_path, quiet=True)
    fresh = make('flow', data, tmp_path, 'batch_size=32')
    start = loop.validate(fresh, dict(fresh.network.state_dict()))
    assert history[-1]['validation'] < 0.8 * start


def test_resuming_with_another_configuration_is_refused(data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4)
        with pytest.raises(Break):
            loop.fit(make('flow', data, tmp_path), tmp_path, quiet=True)
    other = make('flow', data, tmp_path, 'learning_rate=0.5')
    with pytest.raises(TrainingError, match=r'learning_rate was 0.001, is 0.5.*delete the file'):
        loop.fit(other, tmp_path, resume=True, quiet=True)
    with pytest.raises(TrainingError, match=r'is an unfinished run: continue it with --resume'):
        loop.fit(make('flow', data, tmp_path), tmp_path, quiet=True)


def test_there_must_be_something_to_resume(data, tmp_path):
    with pytest.raises(TrainingError, match='nothing to resume'):
        loop.fit(make('flow', data, tmp_path), tmp_path, resume=True, quiet=True)


def test_a_full_disk_keeps_the_last_state_and_the_run_goes_on_from_it(data, tmp_path, monkeypatch):
    whole = loop.fit(make('flow', data, tmp_path), tmp_path / 'whole', quiet=True)
    saves = []
    real = os.fsync

    def fill(descriptor: int) -> None:
        saves.append(1)
        if len(saves) > 5:  # `weak`, its JSON and folder; state and folder. `flow` does not fit.
            raise OSError(errno.ENOSPC, 'No space left on device')
        real(descriptor)

    parts = tmp_path / 'parts'
    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', fill)
        with pytest.raises(StorageError, match=r'flow.safetensors.*No space left'):
            loop.fit(make('flow', data, tmp_path), parts, quiet=True)
    left = {'weak.json', 'weak.safetensors', 'flow.state.safetensors'}
    assert {path.name for path in parts.iterdir()} == left
    assert loop.fit(make('flow', data, tmp_path), parts, resume=True, quiet=True) == whole


def test_a_loss_that_is_not_finite_stops_the_run(data, tmp_path):
    recipe = make('flow', data, tmp_path)
    with torch.no_grad():
        recipe.network.head.bias.fill_(float('nan'))
    with pytest.raises(TrainingError, match='the loss is nan at update 0: lower learning_rate'):
        loop.fit(recipe, tmp_path, quiet=True)


def test_the_rate_rises_then_falls_along_a_cosine():
    config = command.make_config(
        'flow', ['steps=100', 'warmup_steps=10', 'learning_rate=1'], False
    )
    rates = [loop.learning_rate(config, step) for step in (0, 4, 9, 10, 55, 100)]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.5, 0.0])


@pytest.mark.parametrize('name', BASED)
def test_a_recipe_that_needs_a_base_says_so(name, data):
    config = command.make_config(name, [], debug=True)
    with pytest.raises(TrainingError, match='name its checkpoint with --base'):
        command.RECIPES[name].load('recipe')(
            config, TrainingInputs(data, 'sines', 'toy', ('left', 'right'))
        )


def test_a_base_for_other_data_is_refused(data, base, tmp_path):
    def widen(table: dict) -> None:
        for row in table['observation.environment_state']:
            row.append(0.0)

    other = read_demonstrations(demonstrations.write(tmp_path, widen))
    with pytest.raises(TrainingError, match=r'reads observation.environment_state \[3\], .* has'):
        make('tt_rtc', other, base)


def test_a_base_of_the_wrong_kind_is_refused(data, base, tmp_path):
    config = command.make_config('remac_act', ['max_delay=3'], debug=True)
    inputs = TrainingInputs(data, 'sines', 'toy', ('left', 'right'), base / 'flow')
    with pytest.raises(TrainingError, match='is no ACT-style policy; train one with'):
        command.RECIPES['remac_act'].load('recipe')(config, inputs)


@without_peft
def test_a_base_is_not_replaced_by_what_is_made_of_it(data, base):
    before = (base / 'act.safetensors').read_bytes()
    with pytest.raises(TrainingError, match=r'would replace its own base .*act: name another'):
        loop.fit(make('remac_act', data, base), base, quiet=True)
    assert (base / 'act.safetensors').read_bytes() == before


def test_an_act_policy_can_be_sampled_like_a_flow(data, base):
    policy = load_policy(base / 'act')
    seen = {name: torch.from_numpy(v[:3]) for name, v in data.observations.items()}
    boundary = Boundary(torch.zeros(3, 0, 2), 0, 1)
    chunks = [
        sample_chunk(policy, Plain(num_steps), seen, boundary, torch.Generator().manual_seed(seed))
        for seed, num_steps in ((0, 0), (1, 4))
    ]
    torch.testing.assert_close(chunks[0].actions, chunks[1].actions, atol=1e-5, rtol=1e-5)
    assert policy.offers == frozenset()


def test_a_delay_beyond_the_horizon_is_refused(data, base):
    with pytest.raises(TrainingError, match=r'max_delay = 6: it must be 0 to 5'):
        make('tt_rtc', data, base, 'max_delay=6')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (['steps=0'], r"--set: steps = '0': Input should be greater than or equal to 1"),
        (['stepps=3'], r"unknown key 'stepps'. Did you mean 'steps'"),
        (['steps'], r"--set takes key=value, got 'steps'"),
        (['actions=sideways'], r"actions = 'sideways': Input should be 'absolute' or 'relative'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        command.make_config('flow', settings, debug=False)


def test_two_processes_have_the_losses_of_one(data, base, tmp_path):
    arguments = ['flow', '--task', 'sines', '--data', str(data.source), '--debug']
    arguments += ['--set', 'horizon=6', '--threads', '1']
    one = _run([sys.executable, '-m', 'async_chunking.cli', 'train', *arguments], tmp_path / 'one')
    torchrun = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc-per-node=2',
    ]
    two = _run([*torchrun, '-m', 'async_chunking.cli', 'train', *arguments], tmp_path / 'two')
    assert one == pytest.approx(two, abs=2e-5)


def _run(command: list[str], out: Path) -> list[float]:
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        [*command, '--out', str(out)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    history = read_sidecar(out / 'flow').training['history']
    assert re.search(r'flow.safetensors: loss [0-9.]+', done.stdout)
    return [entry[key] for entry in history for key in ('train', 'validation')]
