# SPDX-License-Identifier: Apache-2.0
"""A robot whose policy is a SmolVLA of LeRobot, in a process with another Python than the rest."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('async_chunking.msg')

from async_chunking.bringup.describe import describe
from async_chunking.bringup.processes import Processes
from async_chunking.errors import AsyncChunkingError
from async_chunking.strategies import STRATEGIES

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = ROOT / '.venv-lerobot' / 'bin' / 'python'
OFFERS = {'velocity', 'gradients'}
ROBOT = """
extends: viperx_bimanual
name: viperx_bimanual_vla
observations:
  observation.environment_state: null
  observation.images.front:
    {kind: image, topic: front/image_raw, height: 240, width: 320, resize: [24, 32]}
  task: {kind: text}
"""
STRATEGY_NAMES = [name for name, strategy in STRATEGIES.items() if strategy.needs <= OFFERS]

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason='there is no .venv-lerobot: make test-lerobot'
)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('checkpoints') / 'smolvla'
    command = [PYTHON, ROOT / 'test' / 'lerobot_tiny.py', 'smolvla', path]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.fixture
def given(checkpoint: Path, tmp_path: Path) -> dict[str, object]:
    (tmp_path / 'robot.yaml').write_text(ROBOT)
    return {
        'embodiment': str(tmp_path / 'robot.yaml'), 'policy': 'lerobot',
        'policy_path': str(checkpoint), 'policy_python': str(PYTHON),
        'instruction': 'put the red cup', 'camera_hz': 5, 'log_level': 'error',
    }  # fmt: skip


def test_smolvla_drives_two_arms_with_every_strategy(node, spin_until, given, tmp_path) -> None:
    from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
    from rcl_interfaces.srv import SetParameters

    from async_chunking.msg import ActionChunk, ChunkRequest, ControlStep

    params = tmp_path / 'params.yaml'
    params.write_text('executor: {ros__parameters: {hold_timeout_s: 1000.0}}')
    asked: dict[int, str] = {}
    answers: dict[str, list[ActionChunk]] = defaultdict(list)
    taken: dict[str, int] = defaultdict(int)

    def answered(chunk: ActionChunk) -> None:
        answers[asked.get(chunk.request_id, '')].append(chunk)

    def stepped(step: ControlStep) -> None:
        taken[step.strategy] += step.took_over

    node.create_subscription(
        ChunkRequest, 'chunk_request', lambda r: asked.update({r.request_id: r.strategy}), 100
    )
    node.create_subscription(ActionChunk, 'action_chunk', answered, 100)
    node.create_subscription(ControlStep, 'control_step', stepped, 1000)
    client = node.create_client(SetParameters, 'executor/set_parameters')
    described = describe('viperx_bimanual', {**given, 'params_file': str(params)})
    with Processes(described.nodes, '', 'error') as processes:
        spin_until(lambda: taken['naive'] > 1, 'a chunk takes over', 180.0)
        for name in STRATEGY_NAMES:
            value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=name)
            request = SetParameters.Request(parameters=[Parameter(name='strategy', value=value)])
            future = client.call_async(request)
            spin_until(future.done, f'strategy is {name}')
            assert future.result().results[0].successful
            before = taken[name]
            spin_until(lambda: taken[name] > before + 1, f'chunks of {name}', 120.0)  # noqa: B023
            assert processes.restarts['policy'] == 0
    for name in STRATEGY_NAMES:
        served = [chunk for chunk in answers[name] if not chunk.refusal]
        assert served
        assert {(chunk.rows, chunk.columns) for chunk in served} == {(16, 14)}
        assert all(chunk.policy_calls >= 4 for chunk in served)
        assert {'observation.images.front', 'task'} <= set(served[0].observation_names)


@pytest.mark.parametrize(
    ('robot', 'message'),
    [
        (ROBOT.replace('[24, 32]', '[48, 64]'), '24 x 32 x 3.*48 x 64 x 3'),
        (ROBOT.replace('  task: {kind: text}\n', ''), "reads 'task'"),
        (ROBOT.replace('viperx_bimanual\n', 'viperx\n'), '14 action dimensions.*7 joints'),
    ],
)
def test_a_checkpoint_of_another_robot_is_refused(given, tmp_path, robot, message) -> None:
    (tmp_path / 'robot.yaml').write_text(robot)
    with pytest.raises(AsyncChunkingError, match=message):
        describe('viperx_bimanual', given)


def test_a_python_that_is_not_there_is_refused(given) -> None:
    with pytest.raises(AsyncChunkingError, match='make setup-lerobot'):
        describe('viperx_bimanual', {**given, 'policy_python': 'nowhere/python'})
