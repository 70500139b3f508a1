# SPDX-License-Identifier: Apache-2.0
"""What a LeRobot checkpoint says about itself; neither lerobot nor torch is needed."""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lerobot_files
import numpy as np
import pytest

from async_chunking.bringup.describe import describe
from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.kinds import KINDS
from async_chunking.policies.lerobot.source import LeRobotSource
from async_chunking.policies.opening import open_policy
from async_chunking.policies.options import PolicyOptions
from async_chunking.policies.source import PolicySpec
from async_chunking.strategies import STRATEGIES

STATE = {'observation.state': {'type': 'STATE', 'shape': [14]}}
CAMERAS = {
    'observation.images.top': {'type': 'VISUAL', 'shape': [3, 480, 640]},
    'observation.images.empty_camera_0': {'type': 'VISUAL', 'shape': [3, 480, 640]},
}
PI0 = {
    'type': 'pi0', 'chunk_size': 50, 'n_action_steps': 50, 'num_inference_steps': 10,
    'input_features': STATE | CAMERAS,
    'output_features': {'action': {'type': 'ACTION', 'shape': [14]}},
}  # fmt: skip
DIFFUSION = {
    'type': 'diffusion', 'horizon': 16, 'n_obs_steps': 2, 'n_action_steps': 8,
    'input_features': STATE, 'output_features': PI0['output_features'],
}  # fmt: skip
STATES = {'observation.state.mean': 14, 'observation.state.std': 14}
MOVES = {'action.mean': 14, 'action.std': 14}
BOTH = STATES | MOVES
TURNED = {'action.min': [1.0] * 14, 'action.max': [0.0] * 14}
NAN = [*[1.0] * 13, np.nan]
NO_ACTION = {'ACTION': 'IDENTITY'}


def options(path: str = '') -> PolicyOptions:
    return PolicyOptions(policy='lerobot', policy_path=path)


def write(folder: Path, config: Any) -> Path:
    return lerobot_files.write(folder, config)


def test_a_flow_policy_tells_its_shapes(tmp_path: Path) -> None:
    source = LeRobotSource(write(tmp_path, PI0))
    assert (source.horizon, source.action_dim, source.num_steps) == (50, 14, 10)
    assert source.offers == {'velocity', 'gradients', 'per_token_time'}
    assert not source.delays
    assert source.expects == {
        'observation.state': (14,), 'observation.images.top': (480, 640, 3), 'task': (),
    }  # fmt: skip
    weights = (tmp_path / 'model.safetensors').read_bytes()
    assert source.digest(STRATEGIES['naive']) == hashlib.sha256(weights).hexdigest()


def test_a_chunk_policy_offers_nothing_and_reads_no_words(tmp_path: Path) -> None:
    source = LeRobotSource(write(tmp_path, DIFFUSION))
    assert (source.horizon, source.action_dim) == (15, 14)  # One row of 16 has passed.
    assert source.offers == frozenset()
    assert source.expects == {'observation.state': (14,)}


def test_the_table_of_kinds_says_the_same(tmp_path: Path) -> None:
    columns = KINDS['lerobot'].columns.values()
    flow, chunk = (LeRobotSource(write(tmp_path / c['type'], c)).offers for c in (PI0, DIFFUSION))
    assert [offer.always for offer in columns] == [flow, chunk]


@pytest.mark.parametrize(
    ('prepare', 'message'),
    [
        ({'state': {}}, 'observation.state has no mean and no std, which MEAN_STD needs'),
        ({'state': {'observation.state.mean': 14}}, 'observation.state has no std'),
        (
            {'state': {'so100.buffer.observation.state.mean': 14}},
            'There are statistics of: so100.buffer.observation.state',
        ),
        ({'action': {}}, r'policy_postprocessor\.json: action has no mean and no std'),
        ({'processors': False}, r'policy_preprocessor\.json is missing.*before 0\.4'),
        ({'steps': ()}, 'has no step normalizer_processor, so input_features would not be'),
        ({'modes': {'STATE': 'MEAN_STDDEV'}}, "observation.state is normalised by 'MEAN_STDDEV'"),
        ({'config': {'n_action_steps': 60}}, 'n_action_steps 60 is more than chunk_size 50'),
        ({'shards': True}, 'the weights are in shards'),
        ({'adapter': True}, r'adapter_config\.json: this is an adapter'),
        ({'weights': False}, r'has no model\.safetensors'),
        (
            {'state': {**BOTH, 'observation.state.mean': 1}},
            r'mean of observation.state has shape \[1',
        ),
        ({'action': {**MOVES, 'action.std': [[1.0]] * 14}}, r'std of action has shape \[14, 1\]'),
        (
            {'state': {**BOTH, 'observation.state.std': NAN}},
            r'std of observation.state has numbers',
        ),
        ({'action': {**MOVES, 'action.mean': [*[0.0] * 13, np.inf]}}, 'not finite.*inf'),
        ({'action': {**MOVES, 'action.std': [*[1.0] * 13, -1.0]}}, 'std of action is below 0'),
        (
            {'modes': {'ACTION': 'MIN_MAX'}, 'state': {**BOTH, **TURNED}},
            'max of action is below min',
        ),
        ({'state': STATES}, r'policy_preprocessor\.json: action has no mean and no std'),
        ({'state': {**BOTH, 'action.mean': [0.5] * 14}}, 'differ in the statistics of action'),
        (
            {'options': {'features': {}}},
            'observation.state is not among the features of the step: none',
        ),
        (
            {'options': {'normalize_observation_keys': ['observation.state']}, 'action': {}},
            'policy_postprocessor.json: action has no mean',
        ),
        ({'options': {'stats': {'action': {}, 'other': {}}}}, 'config.stats stands before'),
        (
            {'config': {'normalization_mapping': {'STATE': 'MIN_MAX'}}},
            'observation.state is normalised by MEAN_STD, but config.json says MIN_MAX',
        ),
        (
            {'config': {'normalization_mapping': {'ACTION': 'MEAN_STD'}}, 'modes': NO_ACTION},
            'action is normalised by IDENTITY, but config.json says MEAN_STD',
        ),
        (
            {'steps': ['unnormalizer_processor'] * 2},
            'has 2 steps unnormalizer_processor: it would be done again',
        ),
        (
            {'steps': ['normalizer_processor', 'unnormalizer_processor']},
            r"postprocessor\.json: step 0 is 'normalizer_processor', which has no place there",
        ),
        (
            {'options': {'norm_map': {}}},
            'norm_map has no STATE, so observation.state would not be',
        ),
        ({'options': {'norm_map': {'action': 'MEAN_STD', 'STATE': 'MEAN_STD'}}}, 'has no VISUAL'),
        (
            {'options': {'eps': 0.0}, 'state': {**BOTH, 'observation.state.std': [0.0] * 14}},
            'observation.state never changed in one dimension and config.eps is 0',
        ),
        ({'options': {'eps': False}}, 'config.eps is False'),
        ({'options': {'eps': np.nan}}, 'config.eps is nan'),
        (
            {'config': {'output_features': {}}},
            'no action of one dimension in output',
        ),
        ({'config': {'input_features': None}}, 'input_features is not name: type, shape'),
        ({'config': {'input_features': {'a': {'shape': [6]}}}}, 'input_features is not name'),
        ({'config': {'chunk_size': '50'}}, "chunk_size is '50', not a whole number"),
        ({'config': {'chunk_size': True, 'n_action_steps': True}}, 'n_action_steps is True'),
        (
            {
                'config': {'input_features': {'a': {'type': 'STATE', 'shape': [True]}}},
                'state': BOTH,
            },
            'input_features is not name: type, shape',
        ),
        ({'config': {'n_action_steps': None}}, 'n_action_steps is None, not a whole number'),
    ],
)
def test_what_lerobot_would_run_wrongly_is_refused_by_name(
    tmp_path: Path, prepare: dict[str, Any], message: str
) -> None:
    given = {**prepare, 'config': {**PI0, **prepare.get('config', {})}}
    folder = lerobot_files.write(tmp_path / 'checkpoint', **given)
    with pytest.raises(CheckpointError, match=message):
        open_policy(PolicySpec(describe('viperx', {}).robot, options(str(folder))))


def test_a_feature_that_is_not_normalised_needs_no_statistics(tmp_path: Path) -> None:
    folder = lerobot_files.write(tmp_path, PI0, modes={'STATE': 'IDENTITY'}, state=MOVES)
    robot = describe('viperx', {}).robot
    assert open_policy(PolicySpec(robot, options(str(folder)))).horizon == 50


@pytest.mark.parametrize(
    ('statistics', 'modes'),
    [
        ({**BOTH, 'observation.state.std': [0.0] * 14}, {}),  # A joint that never moved.
        ({**BOTH, 'observation.state.mean': [[0.1] * 14]}, {}),  # Spreads over the batch alone.
        ({**MOVES, 'observation.state.q01': 14, 'observation.state.q99': 14},
         {'STATE': 'QUANTILES'}),
        ({**MOVES, 'observation.state.mean': NAN}, {'STATE': 'IDENTITY'}),  # Of no account.
    ],
)  # fmt: skip
def test_statistics_that_lerobot_computes_with_are_taken(
    tmp_path: Path, statistics: dict[str, Any], modes: dict[str, str]
) -> None:
    folder = lerobot_files.write(tmp_path, PI0, modes=modes, state=statistics)
    LeRobotSource(folder).check()


def test_a_chunk_policy_needs_no_statistics_of_plans(tmp_path: Path) -> None:
    LeRobotSource(lerobot_files.write(tmp_path, DIFFUSION, state=STATES)).check()


def test_pictures_have_statistics_of_each_colour(tmp_path: Path) -> None:
    camera = 'observation.images.top'
    for number, (shape, right) in enumerate((((3,), True), ((3, 1, 1), True), ((1,), False))):
        given = {**BOTH, f'{camera}.mean': np.ones(shape), f'{camera}.std': np.ones(shape)}
        seeing = {**PI0, 'input_features': STATE | {camera: CAMERAS[camera]}}
        folder = lerobot_files.write(
            tmp_path / str(number), seeing, modes={'VISUAL': 'MEAN_STD'}, state=given
        )
        if right:
            LeRobotSource(folder).check()
        else:
            with pytest.raises(CheckpointError, match=r'has shape \[1\], the feature has \[3'):
                LeRobotSource(folder).check()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'version https://git-lfs.github.com/spec/v1\n', 'a pointer of Git LFS'),
        (b'', 'not a safetensors file'),
        (None, 'it is torn'),
    ],
)
@pytest.mark.parametrize('name', ['model', 'policy_postprocessor_step_0_unnormalizer_processor'])
def test_a_file_that_is_not_whole_is_named(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    folder = lerobot_files.write(tmp_path, PI0)
    file = folder / f'{name}.safetensors'
    file.write_bytes(file.read_bytes()[:-4] if content is None else content)
    with pytest.raises(CheckpointError, match=f'{name}.safetensors: .*{message}'):
        LeRobotSource(folder).check()


def test_the_folder_may_be_that_of_a_training_run(tmp_path: Path) -> None:
    write(tmp_path / 'pretrained_model', PI0)
    assert LeRobotSource(tmp_path).path == tmp_path / 'pretrained_model'


def test_a_run_with_several_checkpoints_is_asked_which(tmp_path: Path) -> None:
    for step in ('000100', 'last'):
        write(tmp_path / 'run/checkpoints' / step / 'pretrained_model', PI0)
    for folder in (tmp_path / 'run', tmp_path / 'run/checkpoints'):
        with pytest.raises(
            CheckpointError, match=r'2 below.*run/checkpoints/last/pretrained_model'
        ):
            LeRobotSource(folder)


def test_steps_in_another_order_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, PI0) / 'policy_postprocessor.json'
    steps = json.loads(file.read_text())['steps']
    steps.insert(0, {'registry_name': 'absolute_actions_processor', 'config': {}})
    file.write_text(json.dumps({'steps': steps}))
    with pytest.raises(
        CheckpointError, match='unnormalizer_processor comes after absolute_actions'
    ):
        LeRobotSource(tmp_path).check()


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({**PI0, 'type': 'tdmpc'}, "'tdmpc'. Choices: pi0, pi05, smolvla, act, diffusion"),
        ({**PI0, 'type': 'smolvla', 'adapt_to_pi_aloha': True}, 'adapt_to_pi_aloha'),
        ([], 'expected keys and values'),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        LeRobotSource(write(tmp_path, config))


def test_a_key_that_is_missing_is_named(tmp_path: Path) -> None:
    source = LeRobotSource(write(tmp_path, {k: v for k, v in PI0.items() if k != 'chunk_size'}))
    with pytest.raises(CheckpointError, match='has no chunk_size, which pi0 policies have'):
        _ = source.horizon


def test_no_folder_and_no_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'holds no config\.json'):
        LeRobotSource(tmp_path)
    robot = describe('viperx', {}).robot
    with pytest.raises(CheckpointError, match='needs policy_path:=FOLDER'):
        open_policy(PolicySpec(robot, options()))


@pytest.mark.skipif(find_spec('lerobot') is not None, reason='lerobot is installed here')
def test_a_name_on_the_hub_is_told_from_a_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r'hf download lerobot/pi0 --local-dir FOLDER'):
        LeRobotSource(Path('lerobot/pi0'))
    (tmp_path / 'lerobot').mkdir()  # Then it may be a slip in the name of a folder.
    with pytest.raises(CheckpointError, match=r'written by LeRobot$'):
        LeRobotSource(Path('lerobot/pi0'))


def test_without_the_package_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'make setup-lerobot.*policy_python:='):
        LeRobotSource(write(tmp_path, PI0)).policy_for(STRATEGIES['naive'])


def test_a_robot_that_does_not_fit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    narrow = {**PI0, 'input_features': STATE}
    path = str(write(tmp_path / 'narrow', narrow))
    given = {'policy': 'lerobot', 'policy_path': path}
    with pytest.raises(AsyncChunkingError, match=r'14 action dimensions.*7 joints'):
        describe('viperx', given)
    with pytest.raises(AsyncChunkingError, match="reads 'task'"):
        describe('viperx_bimanual', given)
    robot = tmp_path / 'robot.yaml'
    camera = '{kind: image, topic: front/image_raw, height: 240, width: 320}'
    robot.write_text(
        'extends: viperx_bimanual\nobservations:\n'
        f'  observation.images.top: {camera}\n  task: {{kind: text}}\n'
    )
    given |= {'policy_path': str(write(tmp_path / 'seeing', PI0)), 'embodiment': str(robot)}
    with pytest.raises(AsyncChunkingError, match=r'480 x 640 x 3.*240 x 320 x 3'):
        describe('viperx_bimanual', given)
    given['instruction'] = 'lift the cup'
    robot.write_text(robot.read_text().replace('width: 320', 'width: 320, resize: [480, 640]'))
    assert describe('viperx_bimanual', given).policy.horizon == 50
    refused = {**given, 'strategy': 'tt_rtc'}
    with pytest.raises(AsyncChunkingError, match=r'tt_rtc.*This policy can run: sync, naive'):
        describe('viperx_bimanual', refused)
    with pytest.raises(AsyncChunkingError, match=r'horizon of 50 rows is too short.*delay 60'):
        describe('viperx_bimanual', {**given, 'strategy': 'naive', 'latency_ms': 1200})


HOSTILE = [
    ({'class': 'subprocess.Popen', 'config': {'args': ['touch', '{mark}']}}, 'names a class'),
    (
        {'registry_name': 'normalizer_processor', 'class': 'subprocess.Popen', 'config': {}},
        'names a class',
    ),
    (
        {'registry_name': 'action_tokenizer_processor', 'config': {}},
        "'action_tokenizer_processor'",
    ),
    ({'registry_name': 'normalizer_processor', 'code': 1}, "has the key 'code'"),
    ({'registry_name': 'normalizer_processor', 'state_file': '../other.safetensors'}, 'beside'),
    (['subprocess.Popen'], 'names a class'),
]


@pytest.mark.parametrize(('step', 'message'), HOSTILE)
@pytest.mark.parametrize('name', ['policy_preprocessor', 'policy_postprocessor', 'my_processor'])
def test_a_processor_that_could_run_a_program_is_not_opened(
    tmp_path: Path, name: str, step: Any, message: str
) -> None:
    folder = lerobot_files.write(tmp_path / 'checkpoint', PI0)
    file, mark = folder / f'{name}.json', tmp_path / 'ran'
    steps = json.loads(file.read_text())['steps'] if file.exists() else []
    text = json.dumps({'steps': [*steps, step]}).replace('{mark}', str(mark))
    file.write_text(text)
    robot = describe('viperx', {}).robot
    for opened in (
        lambda: open_policy(PolicySpec(robot, options(str(folder)))),
        lambda: LeRobotSource(folder).policy_for(STRATEGIES['naive']),
    ):
        with pytest.raises(CheckpointError, match=message):
            opened()
    assert not mark.exists()


def test_a_policy_that_lerobot_trained_behind_prefixes_serves_tt_rtc(tmp_path: Path) -> None:
    trained = {**PI0, 'type': 'pi05', 'rtc_training_max_delay': 6}
    source = LeRobotSource(write(tmp_path, trained))
    assert STRATEGIES['tt_rtc'].needs <= source.offers
    assert source.delays == {'recipe:tt_rtc': (0, 6)}
