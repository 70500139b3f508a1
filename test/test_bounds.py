# SPDX-License-Identifier: Apache-2.0
"""What is read from files has a size, a depth and a kind; what goes beyond is named at once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from async_chunking import settings, storage
from async_chunking.errors import StrategyError
from async_chunking.policies.checkpoint.sidecar import CheckpointError, read_sidecar, read_weights
from async_chunking.policies.fit import Facts
from async_chunking.policies.strategy_fit import check_strategy
from async_chunking.settings import SettingsError, load_yaml
from async_chunking.strategies import resolve

LAUGHS = 'a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n' + ''.join(
    f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 9)}]\n' for n in range(1, 12)
)
MERGES = 'a0: &a0 {x0: 1, x1: 1, x2: 1}\n' + ''.join(
    f'a{n}: &a{n} {{<<: [{", ".join([f"*a{n - 1}"] * 9)}]}}\n' for n in range(1, 12)
)


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        (LAUGHS, 'more than 100000 values'),
        (MERGES, 'too much is merged'),
        ('[' * 5000, 'nested too deep'),
        ('[' * 400 + ']' * 400, ''),
        ('a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}', ''),
    ],
    ids=['aliases', 'merged keys', 'depth', 'some depth', 'some aliases'],
)
def test_yaml_grows_no_farther_than_it_may(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / 'robot.yaml'
    path.write_text(text)
    if not reason:
        assert load_yaml(path) is not None
        return
    with pytest.raises(SettingsError, match=f'robot.yaml.*: this is not YAML: .*{reason}'):
        load_yaml(path)


def test_what_only_looks_like_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'flow.json')
    os.mkfifo(tmp_path / 'robot.yaml')
    with pytest.raises(SettingsError, match='not a file'):
        load_yaml(tmp_path / 'robot.yaml')
    with pytest.raises(CheckpointError, match='not a file'):
        read_sidecar(tmp_path / 'flow')
    with pytest.raises(OSError, match='not a file'):
        storage.read_file(tmp_path)


def test_files_that_are_too_long_are_not_read(tmp_path: Path, monkeypatch) -> None:
    for name in ('robot.yaml', 'flow.json', 'flow.safetensors'):
        with (tmp_path / name).open('wb') as file:
            file.truncate(1 << 37)  # Of holes.
    with pytest.raises(SettingsError, match='137438953472 bytes, at most 4194304 are read'):
        load_yaml(tmp_path / 'robot.yaml')
    with pytest.raises(CheckpointError, match='at most 16777216 are read'):
        read_sidecar(tmp_path / 'flow')
    sidecar = json.loads(Path(storage.__file__).parent.joinpath(
        'policies/shipped/viperx_slalom/flow.json').read_text())  # fmt: skip
    (tmp_path / 'flow.json').write_text(json.dumps(sidecar))
    with pytest.raises(CheckpointError, match='at most 68719476736 are read'):
        read_weights(tmp_path / 'flow', read_sidecar(tmp_path / 'flow'))
    monkeypatch.setattr(settings, '_LONGEST', 5)
    (tmp_path / 'short.yaml').write_text('a: 10')
    assert load_yaml(tmp_path / 'short.yaml') == {'a': 10}


def test_json_may_be_nested_no_deeper_than_it_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / 'flow.json'
    path.write_text('[' * 100_000)
    with pytest.raises(CheckpointError, match='torn or no JSON'):
        read_sidecar(path)


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('bid:samples=10001', "samples must be a whole number from 1 to 10000, not '10001'"),
        ('paint:num_steps=1' + '0' * 400, 'num_steps must be a whole number from 0 to 10000'),
        ('rtc:max_guidance_weight=1e9', 'must be a number from 0 to 10000'),
        ('ensemble:decay=1e5', 'must be a number from 0 to 10000'),
    ],
)
def test_constants_of_strategies_have_bounds(name: str, reason: str) -> None:
    def check(name: str) -> None:
        strategy = resolve(name)
        check_strategy(strategy, Facts('policy', 16, 7, strategy.needs))

    with pytest.raises(StrategyError, match=reason):
        check(name)
    check('bid:samples=10000')


def test_a_strategy_has_no_endless_name() -> None:
    with pytest.raises(StrategyError, match='has 600005 characters, at most 500 are read'):
        resolve('naive' + '+naive' * 100_000)
