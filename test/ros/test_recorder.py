# SPDX-License-Identifier: Apache-2.0
"""The recorder as a real process: what goes over DDS is what the report says."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripted import scripted_run
from test_bags_reading import assert_equal

from async_chunking import metrics
from async_chunking.bags.files import find
from async_chunking.bags.reading import CHUNK, REQUEST, STEP, TEXT
from async_chunking.bags.summary import summarize_bag
from async_chunking.robot.embodiment import load
from tools.recordings.export import TOPICS, serialize

JOINTS = load('viperx').joint_names
RECORDER = ('-m', 'async_chunking.nodes.recorder_node')
LIMITED = (
    'import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); '
    'resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); '
    'from async_chunking.nodes.recorder_node import main; sys.exit(main())'
)


class ScriptedRobot:
    """Publishes a scripted run as the nodes of a robot would."""

    def __init__(self, node, spin_until) -> None:
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from std_msgs.msg import String

        from async_chunking import msg

        self.node = node
        self.spin_until = spin_until
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.types = {
            STEP: msg.ControlStep, REQUEST: msg.ChunkRequest, CHUNK: msg.ActionChunk, TEXT: String,
        }  # fmt: skip
        self.publishers = {
            kind: node.create_publisher(
                self.types[kind], topic, latched if kind == TEXT else QoSProfile(depth=1000)
            )
            for kind, topic in TOPICS.items()
        }
        self.published = 0

    def configure_recorder(self) -> bool:
        """Configure the recorder, and wait until it hears every topic."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        client = self.node.create_client(ChangeState, 'recorder/change_state')
        self.spin_until(client.service_is_ready, 'the recorder answers')
        transition = Transition(id=Transition.TRANSITION_CONFIGURE)
        future = client.call_async(ChangeState.Request(transition=transition))
        self.spin_until(future.done, 'the recorder is configured')
        return future.result().success

    def wait_for_recorder(self) -> None:
        self.spin_until(
            lambda: all(p.get_subscription_count() for p in self.publishers.values()),
            'the recorder hears every topic',
        )

    def publish(self, run, run_id: int = 1, path: Path | None = None) -> None:
        """Publish a run at once; its end only when all before it is in the recording at `path`.

        Topics have no order among each other, and here seconds are published in an instant.
        """
        from rclpy.serialization import deserialize_message

        for kind, _, data in serialize(run, run_id):
            if kind == TEXT and path is not None:
                self.spin_until(lambda: recorded(path) == self.published, 'the run is on the disk')
            message = deserialize_message(data, self.types[kind])
            if getattr(message, 'joint_names', ()):  # Those of whose limits the snapshot tells.
                message.joint_names = JOINTS
            self.publishers[kind].publish(message)
            self.published += 1


@pytest.fixture
def robot(node, spin_until) -> ScriptedRobot:
    return ScriptedRobot(node, spin_until)


def start_recorder(start, path: Path | None, *arguments):
    return start(*(arguments or RECORDER), '--ros-args', '-p', f'path:="{path or ""}"')


def recorded(path: Path) -> int:
    try:
        (bag,) = find([path])
    except ValueError:
        return 0
    wanted = {f'/{topic}' for topic in TOPICS.values()}
    return sum(1 for _ in bag.messages(lambda topic: topic.name in wanted))


def test_a_run_over_the_wire_has_the_figures_of_the_run(robot, start, spin_until, tmp_path):
    """Simulated, live over DDS, and recorded: the same numbers."""
    run = scripted_run(joints=7)
    path = tmp_path / 'bag'
    process = start_recorder(start, path)
    assert robot.configure_recorder()
    robot.wait_for_recorder()
    robot.publish(run, path=path)
    spin_until(lambda: recorded(path) == robot.published, 'everything is on the disk')
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    (bag,) = find([path])
    report = summarize_bag(bag)
    assert report.problems == []
    (summary,) = report.runs
    # The recorder's snapshot brings the limits of its robot.
    assert summary.figures['limits'] is not None
    assert_equal(metrics.summarize(run), {**summary.figures, 'limits': None})
    assert summary.snapshot['robot'] == 'viperx'
    assert summary.snapshot['versions']['async_chunking']
    assert 'use_sim_time' in summary.snapshot['parameters']['test']


def test_a_killed_recorder_leaves_a_recording(robot, start, spin_until, tmp_path):
    path = tmp_path / 'bag'
    process = start_recorder(start, path)
    assert robot.configure_recorder()
    robot.wait_for_recorder()
    robot.publish(scripted_run(joints=7, success=None))
    spin_until(lambda: recorded(path) == robot.published, 'everything is on the disk')
    process.send_signal(signal.SIGKILL)
    process.wait()
    (bag,) = find([path])
    report = summarize_bag(bag)
    assert report.runs[0].figures['ticks'] == 300
    assert 'not closed by its recorder' in report.problems[0]


def test_a_full_disk_ends_the_recorder_with_a_word(robot, start, spin_until, tmp_path):
    from diagnostic_msgs.msg import DiagnosticArray

    heard = []
    robot.node.create_subscription(DiagnosticArray, '/diagnostics', heard.append, 10)
    path = tmp_path / 'bag'
    process = start_recorder(start, path, '-c', LIMITED)
    assert robot.configure_recorder()
    robot.wait_for_recorder()
    number = 0

    def ended() -> bool:
        nonlocal number
        number += 1
        robot.publish(scripted_run(joints=7, ticks=100, seed=number), run_id=number)
        return process.poll() is not None

    spin_until(ended, 'the recorder ends')
    assert process.returncode == 1
    states = [status.message for array in heard for status in array.status]
    assert any('recording ended after' in state for state in states)
    assert 0 < recorded(path) < robot.published


def test_what_had_arrived_when_a_recorder_ends_is_recorded(robot, spin_until, tmp_path):
    """It has no turn from the first message to its end."""
    import rclpy

    from async_chunking.nodes.recorder_node import RecorderNode

    path = tmp_path / 'bag'
    rclpy.init(args=['--ros-args', '-p', f'path:={path}'])
    try:
        recorder = RecorderNode()
        recorder.trigger_configure()
        robot.publishers = {STEP: robot.publishers[STEP]}

        def heard() -> bool:
            recorder._look()
            return bool(robot.publishers[STEP].get_subscription_count())

        spin_until(heard, 'the recorder hears')
        for kind, _, data in serialize(scripted_run(joints=7), 1):
            if kind == STEP:
                robot.publishers[kind].publish(data)
                robot.published += 1
        assert robot.publishers[STEP].wait_for_all_acked()
        recorder.end()
    finally:
        rclpy.shutdown()
    assert recorded(path) == robot.published > 100


def test_an_existing_recording_is_refused_before_anything_starts(robot, start, tmp_path):
    (tmp_path / 'bag').mkdir()
    start_recorder(start, tmp_path / 'bag')
    assert not robot.configure_recorder()


def test_without_a_path_only_the_snapshot_is_published(robot, start, spin_until):
    """The topic for `ros2 bag record`, which then records it."""
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import String

    heard: list[dict] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.node.create_subscription(
        String, 'snapshot', lambda message: heard.append(json.loads(message.data)), latched
    )
    start_recorder(start, None)
    assert robot.configure_recorder()
    spin_until(lambda: heard and heard[-1]['parameters'], 'the parameters are known')
    assert heard[-1]['limits']['velocity'][0] == pytest.approx(3.14)
    assert heard[-1]['parameters'].keys() == {'test'}


def test_the_snapshot_names_the_checkpoints_and_follows_the_parameters(robot, start, spin_until):
    """A head that corrects actions appears in no message of its own."""
    import rclpy
    from rclpy.parameter import Parameter
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import String

    from async_chunking.policies.checkpoint.shipped import SHIPPED

    heard: list[dict] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.node.create_subscription(
        String, 'snapshot', lambda message: heard.append(json.loads(message.data)), latched
    )
    executor, policy = (
        rclpy.create_node(name, context=robot.node.context) for name in ('executor', 'policy')
    )
    for node in (executor, policy):
        robot.node.executor.add_node(node)
    executor.declare_parameter('strategy', 'naive')
    policy.declare_parameter('policy_path', 'viperx_slalom')
    start_recorder(start, None)
    assert robot.configure_recorder()
    spin_until(lambda: heard and heard[-1]['checkpoints'], 'the policy is known')
    files = (SHIPPED / 'viperx_slalom').glob('*.safetensors')
    assert heard[-1]['checkpoints'] == {
        file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }
    assert 'a2c2_paired' in heard[-1]['checkpoints']
    spin_until(lambda: heard[-1]['strategy'] == 'naive', 'the strategy is known')
    executor.set_parameters([Parameter('strategy', value='paint+a2c2')])
    spin_until(lambda: heard[-1]['strategy'] == 'paint+a2c2', 'the new strategy is known')
    for node in (executor, policy):
        node.destroy_node()


def test_the_stream_is_measured_with_a_recorder_beside_it(ros_domain_id):
    """Refused if the recorder did not record what was sent."""
    from tools.stream.running import Contender, measure

    assert len(measure(Contender('executor', recorded=True), 1.0).sent) > 1


def test_a_topic_is_heard_from_all_of_its_publishers() -> None:
    """One that is reliable and latched beside one that is neither: both match what is asked."""
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

    from async_chunking.nodes.recorder_node import RecorderNode

    best = (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)
    least = (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
    for offered, asked in (([best], best), ([best, least], least), ([least], least)):
        infos = [
            SimpleNamespace(qos_profile=QoSProfile(depth=1, reliability=one, durability=two))
            for one, two in offered
        ]
        node = SimpleNamespace(get_publishers_info_by_topic=lambda _, infos=infos: infos)
        profile = RecorderNode._qos(node, 'topic')
        assert (profile.reliability, profile.durability) == asked
