# SPDX-License-Identifier: Apache-2.0
"""A robot without driver: the YAML of the page about robots, followed on its drivers' topics."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy')
pytest.importorskip('async_chunking.msg')

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image, JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402

from async_chunking.nodes.follow_node import FollowNode  # noqa: E402

PAGE = Path(__file__).parents[2] / 'docs' / 'robots.md'
MORE = """
  observation.force: {topic: force, kind: float64_multi_array, size: 3}
  observation.front: {topic: front/image_raw, kind: image, height: 4, width: 6}
  observation.wrist: {topic: wrist/jpeg, kind: compressed_image, height: 4, width: 6}
"""


@pytest.fixture
def yaml(tmp_path: Path) -> Path:
    text = textwrap.dedent(re.search(r' {3}```yaml\n(.*?) {3}```', PAGE.read_text(), re.S)[1])
    path = tmp_path / 'my_robot.yaml'
    path.write_text(text.replace('size: 2}\n', f'size: 2}}{MORE.rstrip()}\n'))
    return path


URDF = """
<robot name="My Arm">
  <joint name="mount" type="fixed"/>
  <joint name="shoulder" type="revolute"><limit lower="-1.5" upper="1.2" velocity="2.5"/></joint>
  <joint name="wrist" type="continuous"/>
</robot>
"""


def test_the_commands_of_the_page_run_as_they_stand(tmp_path: Path) -> None:
    """From a URDF to a stream: the one test of all that takes a robot's place together."""
    (tmp_path / 'my_robot.urdf').write_text(URDF)
    block = re.search(r'without hardware\n.*?```bash\n(.*?)```', PAGE.read_text(), re.S)[1]
    make, up, _ = block.strip().splitlines()  # The third needs a policy of one's own.
    for line, more in ((make, []), (up.replace('duration:=20', 'duration:=3'), JSON)):
        words = shlex.split(line, comments=True)
        assert words[0] == 'async-chunking'
        done = subprocess.run(
            [sys.executable, '-m', 'async_chunking.cli', *words[1:], *more],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert figures['ticks'] > 100
    assert figures['seam_jump_rad'] >= 0.0
    assert figures['rejected_chunks'] == 0
    assert figures['limits']['exceeded'] == 0


JSON = ['--json', 'figures.json']


@pytest.fixture
def follow(yaml: Path) -> Iterator[Callable[..., FollowNode]]:
    """Return a function that starts the node, in a context that spins nothing by itself."""
    nodes: list[FollowNode] = []

    def start(camera_hz: float) -> FollowNode:
        words = ['-p', f'embodiment:={yaml}', '-p', f'camera_hz:={camera_hz}']
        rclpy.init(args=['--ros-args', *words])
        node = FollowNode()
        nodes.append(node)
        node.begin()
        assert not node.failure
        return node

    yield start
    for node in nodes:
        node.end()
    rclpy.try_shutdown()


def test_joints_go_where_they_are_told_in_the_words_of_their_drivers(follow, yaml) -> None:
    node = follow(camera_hz=50.0)
    told: dict[str, list] = {}
    for kind, topic in (
        (JointState, 'joint_states'), (JointState, 'gripper/joint_states'),
        (Float64MultiArray, 'force'), (Image, 'front/image_raw'), (CompressedImage, 'wrist/jpeg'),
    ):  # fmt: skip
        node.create_subscription(kind, topic, told.setdefault(topic, []).append, 10)
    arm = node.create_publisher(Float64MultiArray, 'forward_position_controller/commands', 10)
    grip = node.create_publisher(Float64MultiArray, 'gripper_controller/commands', 10)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    def reached() -> bool:
        joints = [told[t][-1].position[0] if told[t] else -1.0 for t in list(told)[:2]]
        return joints == pytest.approx([0.4, 0.03], abs=1e-4) and all(told.values())

    for _ in range(3000):
        arm.publish(Float64MultiArray(data=[0.4]))
        grip.publish(Float64MultiArray(data=[0.03]))  # Metres of its driver.
        executor.spin_once(timeout_sec=0.02)
        if reached():
            break
    assert reached()
    assert list(told['gripper/joint_states'][-1].name) == ['finger_joint']
    assert told['gripper/joint_states'][0].position[0] == pytest.approx(0.02, abs=0.011)
    assert told['force'][-1].data.tolist() == [0.0, 0.0, 0.0]
    assert bytes(told['front/image_raw'][-1].data) == bytes(3 * 4 * 6)
    assert bytes(told['wrist/jpeg'][-1].data).startswith(b'\xff\xd8')
    executor.shutdown()


def test_what_is_made_up_and_what_is_missing_is_named(follow, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        'rclpy.impl.rcutils_logger.RcutilsLogger.warning', lambda _, text, **__: said.append(text)
    )
    follow(camera_hz=0.0)
    assert said == [
        'force: zeros, until somebody else publishes it',
        "front/image_raw: no pictures for 'observation.front'; start the camera's driver, or "
        'camera_hz:=10 for black ones',
        "wrist/jpeg: no pictures for 'observation.wrist'; start the camera's driver, or "
        'camera_hz:=10 for black ones',
    ]


def test_what_somebody_else_publishes_is_not_made_up(follow) -> None:
    node = follow(camera_hz=0.0)
    heard: list[Float64MultiArray] = []
    node.create_subscription(Float64MultiArray, 'force', heard.append, 10)
    other = node.create_publisher(Float64MultiArray, 'force', 10)
    while node.count_publishers('force') < 2:
        time.sleep(0.01)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    for _ in range(200):
        other.publish(Float64MultiArray(data=[1.0, 2.0, 3.0]))
        executor.spin_once(timeout_sec=0.01)
    executor.shutdown()
    assert heard
    assert {tuple(message.data) for message in heard} == {(1.0, 2.0, 3.0)}
