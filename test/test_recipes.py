# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""The recipes of docs/policies.md, as printed, against what those servers read and answer.

The servers here refuse every key, type and size that openpi's and GR00T's transforms would refuse,
and answer in their conventions: DROID's shares of 0.2 rad a step and 0 for an open gripper,
ALOHA's openings from 0 to 1, GR00T's groups without a batch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for module in ('torch', 'websockets', 'zmq', 'msgpack'):
    pytest.importorskip(module)

import lerobot_files
from policy_servers import Gr00tPeer, OpenpiPeer, running, write_openpi

from async_chunking.chunk import ActionChunk
from async_chunking.correctors import Corrector
from async_chunking.executor import Behaviour, Executor, ExecutorConfig, Outcome
from async_chunking.mergers import MERGERS
from async_chunking.policies.fit import check_fit, example_observation, facts_of
from async_chunking.policies.opening import open_policy
from async_chunking.policies.options import PolicyOptions
from async_chunking.policies.source import PolicySpec
from async_chunking.robot.embodiment import Command, Embodiment, load

PAGE = (Path(__file__).parents[1] / 'docs/policies.md').read_text()
RECIPES = {
    re.search(r'^name: (\S+)', text, re.MULTILINE).group(1): text
    for text in re.findall(r'```yaml\n(.*?)```', PAGE, re.DOTALL)
}


def recipe(name: str, folder: Path) -> Embodiment:
    (folder / f'{name}.yaml').write_text(RECIPES[name])
    return load(str(folder / f'{name}.yaml'))


def remote(server: Any) -> PolicyOptions:
    return PolicyOptions(policy='remote', policy_url=server.url, policy_timeout_s=20.0)


def told_to_drivers(robot: Embodiment, pose: np.ndarray) -> dict[str, np.ndarray]:
    """Return what drivers hear of a pose, by topic, in their units."""

    def values(command: Command) -> np.ndarray:
        gain, bias = command.affine
        return gain * pose[[robot.joint_names.index(name) for name in command.joints]] + bias

    return {command.topic: values(command) for command in robot.commands}


def rest(robot: Embodiment) -> np.ndarray:
    return np.clip(np.zeros(len(robot.joints)), robot.limits.lower, robot.limits.upper)


def observed(robot: Embodiment, pose: np.ndarray) -> dict[str, Any]:
    """Return an observation of the robot in a pose."""
    example = example_observation(robot)
    for name, stream in robot.observations.items():
        if stream.kind == 'measured':
            places = [robot.joint_names.index(j) for j in stream.joints or robot.joint_names]
            example[name] = pose[places]
        elif stream.kind == 'text':
            example[name] = 'pick up the cup'
    return example


def taken(robot: Embodiment, actions: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Return a server's chunk as positions that the robot's executor takes."""
    positions = robot.action_modes.to_positions(actions, pose)
    config = ExecutorConfig(
        robot.limits, robot.joint_names, len(positions), robot.policy.execution_horizon,
        robot.control_rate_hz, robot.policy.policy_rate_hz,
    )  # fmt: skip
    executor = Executor(config, Behaviour('naive', MERGERS['switch'](), Corrector()), 1, pose)
    request = executor.poll()
    assert request is not None
    chunk = ActionChunk(1, request.request_id, 0, positions, 0, robot.joint_names)
    assert executor.push(chunk) is Outcome.ACCEPTED, executor.reasons
    return positions


def picture(value: Any, shape: tuple[int, ...]) -> None:
    assert value.dtype == np.uint8
    assert value.shape == shape


# --- openpi -------------------------------------------------------------------------------------


def droid(observation: Mapping[str, Any]) -> dict[str, Any]:
    """Answer as the DROID policies of openpi: shares of the largest step, then the gripper."""
    assert set(observation) == {
        'observation/exterior_image_1_left', 'observation/wrist_image_left',
        'observation/joint_position', 'observation/gripper_position', 'prompt',
    }  # fmt: skip
    picture(observation['observation/exterior_image_1_left'], (224, 224, 3))
    picture(observation['observation/wrist_image_left'], (224, 224, 3))
    assert observation['observation/joint_position'].shape == (7,)
    (gripper,) = observation['observation/gripper_position']
    assert 0.0 <= gripper <= 1.0
    assert isinstance(observation['prompt'], str)
    actions = np.zeros((15, 8))
    actions[:, 0] = 0.5  # Half the largest velocity.
    actions[:, 7] = np.linspace(0.0, 1.0, 15)
    return {
        'actions': actions, 'policy_timing': {'infer_ms': 60.0},
        'server_timing': {'infer_ms': 61.0},
    }  # fmt: skip


def test_droid(tmp_path: Path):
    robot = recipe('droid_openpi', tmp_path)
    (finger,) = [source for source in robot.sources if 'fr3_finger_joint1' in source.joints]
    gain, bias = finger.affine
    assert (np.array([0.04, 0.0]) - bias) / gain == pytest.approx([0.0, 1.0])  # Open, closed.
    pose = rest(robot)
    with running(OpenpiPeer(droid, greeting=write_openpi({}))) as server:
        source = open_policy(PolicySpec(robot, remote(server)))
        check_fit(facts_of(source), robot)
        positions = taken(robot, source.ask(observed(robot, pose)), pose)
        source.close()
    # Half of 0.2 rad in each row.
    np.testing.assert_allclose(positions[:, 0], 0.1 * np.arange(1, 16))
    opened = told_to_drivers(robot, positions[0])['franka_gripper/gripper_action']
    closed = told_to_drivers(robot, positions[-1])['franka_gripper/gripper_action']
    np.testing.assert_allclose([opened[0], closed[0]], [0.04, 0.0], atol=1e-12)


def aloha(observation: Mapping[str, Any]) -> dict[str, Any]:
    """Answer as the ALOHA policies of openpi: angles, and openings from 0 to 1."""
    assert set(observation) == {'state', 'images', 'prompt'}
    assert observation['state'].shape == (14,)
    cameras = {'cam_high', 'cam_low', 'cam_left_wrist', 'cam_right_wrist'}
    assert 'cam_high' in observation['images']
    assert set(observation['images']) <= cameras
    for pixels in observation['images'].values():
        picture(pixels, (3, 224, 224))
    actions = np.tile(observation['state'], (50, 1))
    actions[:, [6, 13]] = 1.0
    return {'actions': actions, 'server_timing': {'infer_ms': 80.0}}


METADATA = {'reset_pose': [0, -1.5, 1.5, 0, 0, 0]}


def test_aloha_with_openpi(tmp_path: Path):
    robot = recipe('aloha_openpi', tmp_path)
    pose = rest(robot)
    with running(OpenpiPeer(aloha, greeting=write_openpi(METADATA))) as server:
        source = open_policy(PolicySpec(robot, remote(server)))
        check_fit(facts_of(source), robot)
        positions = taken(robot, source.ask(observed(robot, pose)), pose)
        source.close()
    assert positions.shape == (50, 14)
    told = told_to_drivers(robot, positions[-1])
    # The joint of an open gripper, as ALOHA's calibration has it.
    assert told['puppet_left/commands/joint_single'] == pytest.approx([1.4910])
    (left,) = [source for source in robot.sources if 'left_gripper' in source.joints]
    gain, bias = left.affine
    assert (0.05800 - bias[-1]) / gain[-1] == pytest.approx(1.0)  # The finger when open [m].


# --- LeRobot ------------------------------------------------------------------------------------

CAMERAS = ('cam_high', 'cam_left_wrist', 'cam_low', 'cam_right_wrist')
ACT = {
    'type': 'act', 'chunk_size': 100, 'n_action_steps': 100,
    'input_features': {
        **{f'observation.images.{name}': {'type': 'VISUAL', 'shape': [3, 480, 640]}
           for name in CAMERAS},
        'observation.state': {'type': 'STATE', 'shape': [14]},
    },
    'output_features': {'action': {'type': 'ACTION', 'shape': [14]}},
}  # fmt: skip


def test_aloha_with_lerobot(tmp_path: Path):
    """As ACT is trained on LeRobot's data of ALOHA: four cameras, and openings from 0 to 1."""
    robot = recipe('aloha_lerobot', tmp_path)
    folder = lerobot_files.write(tmp_path / 'checkpoint', ACT)
    source = open_policy(
        PolicySpec(robot, PolicyOptions(policy='lerobot', policy_path=str(folder)))
    )
    check_fit(facts_of(source), robot)
    assert set(source.expects) == set(robot.observations)
    pose = rest(robot)
    chunk = np.tile(pose, (100, 1))
    chunk[:, 13] = 1.0
    told = told_to_drivers(robot, taken(robot, chunk, pose)[-1])
    assert told['puppet_right/commands/joint_single'] == pytest.approx([1.4910])


# --- GR00T --------------------------------------------------------------------------------------


def gr00t(sizes: Mapping[str, int], camera: str, words: str):
    """Return modalities and rule of an N1.5 server: names with dots, no batch, 16 rows."""
    states = [f'state.{name}' for name in sizes]

    def config(keys: list[str]) -> dict[str, Any]:
        return {'delta_indices': [0], 'modality_keys': keys}

    modalities = {
        'video': config([camera]), 'state': config(states),
        'action': config([f'action.{name}' for name in sizes]), 'language': config([words]),
    }  # fmt: skip

    def rule(observation: Mapping[str, Any]) -> dict[str, Any]:
        assert set(observation) == {camera, words, *states}
        picture(observation[camera], (1, 480, 640, 3))
        assert observation[words] == ['pick up the cup'] or observation[words] == ['nothing']
        for name, size in sizes.items():
            state = observation[f'state.{name}']
            assert state.dtype in (np.float32, np.float64)
            assert state.shape == (1, size)
        return {
            f'action.{name}': np.tile(observation[f'state.{name}'].astype(np.float64), (16, 1))
            + 0.01
            for name in sizes
        }

    return modalities, rule


@pytest.mark.parametrize(
    ('name', 'sizes', 'camera', 'words', 'command'),
    [
        ('gr1_gr00t', {'left_arm': 7, 'right_arm': 7, 'left_hand': 6, 'right_hand': 6},
         'video.ego_view', 'annotation.human.action.task_description',
         'left_manipulator/joint_commands'),
        ('g1_gr00t', {'left_arm': 7, 'right_arm': 7, 'left_hand': 7, 'right_hand': 7},
         'video.rs_view', 'annotation.human.task_description', 'dex3/left/cmd'),
    ],
)  # fmt: skip
def test_gr00t(tmp_path: Path, name: str, sizes, camera: str, words: str, command: str):
    robot = recipe(name, tmp_path)
    assert {group.name: len(group.joints) for group in robot.groups} == sizes
    middle = (robot.limits.lower + robot.limits.upper) / 2.0
    modalities, rule = gr00t(sizes, camera, words)
    with running(Gr00tPeer(rule, modalities)) as server:
        source = open_policy(PolicySpec(robot, remote(server)))
        check_fit(facts_of(source), robot)
        positions = taken(robot, source.ask(observed(robot, middle)), middle)
        source.close()
    np.testing.assert_allclose(positions[-1], middle + 0.01, atol=1e-6)
    (sent,) = [c for c in robot.commands if c.topic == command]
    places = [robot.joint_names.index(joint) for joint in sent.joints]
    np.testing.assert_allclose(
        told_to_drivers(robot, positions[0])[command], middle[places] + 0.01, atol=1e-6
    )


def test_every_recipe_of_the_page_is_tested():
    assert set(RECIPES) == {
        'aloha_openpi', 'aloha_lerobot', 'droid_openpi', 'gr1_gr00t', 'g1_gr00t',
    }  # fmt: skip


@pytest.mark.parametrize('name', RECIPES)
def test_the_command_of_a_recipe_says_what_its_policy_is_told(tmp_path: Path, name: str):
    """Words that no command gives and no topic of the robot has would be waited for."""
    robot = recipe(name, tmp_path)
    (command,) = re.findall(
        rf'^    async-chunking up {name}\.yaml (?:.*\\\n)*.*$', PAGE, re.MULTILINE
    )
    words = [stream for stream in robot.observations.values() if stream.kind == 'text']
    assert [stream.topic for stream in words] == [''] * len(words)
    assert bool(words) == ('instruction:=' in command)
