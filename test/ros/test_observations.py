# SPDX-License-Identifier: Apache-2.0
"""Observations, from topics to what a policy gets: joints, pictures, words; and their errors."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy')
pytest.importorskip('async_chunking.msg')
pytest.importorskip('PIL')

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from PIL import Image as Pillow
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from async_chunking.bringup.describe import describe
from async_chunking.bringup.processes import Processes
from async_chunking.cameras.reading import compressed_reader, image_reader
from async_chunking.cameras.resizing import RESIZINGS
from async_chunking.errors import COULD_NOT_START, StreamError
from async_chunking.msg import ActionChunk, ChunkRequest
from async_chunking.nodes.observations.robot import Observations
from async_chunking.nodes.observations.sample import Sample
from async_chunking.robot.embodiment import Embodiment, load
from async_chunking.robot.wiring import Stream

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)  # Two rows, three columns.
CAMERA = Stream(kind='image', topic='front', height=2, width=3)


def image(pixels: np.ndarray, encoding: str, padding: int = 0) -> Image:
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)), constant_values=255)
    return Image(
        height=height, width=width, encoding=encoding, step=rows.shape[1],
        data=array('B', rows.tobytes()),
    )  # fmt: skip


def compressed(pixels: np.ndarray, kind: str = 'PNG') -> CompressedImage:
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, kind)
    return CompressedImage(format=kind.lower(), data=array('B', file.getvalue()))


# --- pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize(
    ('encoding', 'sent'),
    [
        ('rgb8', PIXELS),
        ('bgr8', PIXELS[..., ::-1]),
        ('rgba8', np.dstack([PIXELS, PIXELS[..., :1]])),
        ('bgra8', np.dstack([PIXELS[..., ::-1], PIXELS[..., :1]])),
    ],
)
def test_raw_pictures_of_every_encoding(encoding, sent, padding):
    pixels = image_reader(CAMERA)(image(sent, encoding, padding)).pixels()
    np.testing.assert_array_equal(pixels, PIXELS)
    assert pixels.dtype == np.uint8


def test_grey_pictures_have_three_equal_channels():
    pixels = image_reader(CAMERA)(image(PIXELS[..., 0], 'mono8')).pixels()
    np.testing.assert_array_equal(pixels, np.repeat(PIXELS[..., :1], 3, axis=2))


def test_compressed_pictures():
    stream = CAMERA.model_copy(update={'kind': 'compressed_image'})
    np.testing.assert_array_equal(compressed_reader(stream)(compressed(PIXELS)).pixels(), PIXELS)
    grey = np.full((2, 3, 3), 90, np.uint8)
    lossy = compressed_reader(stream)(compressed(grey, 'JPEG')).pixels()
    assert np.abs(lossy.astype(int) - 90).max() <= 2


def test_resizing_keeps_the_shape_and_pads_with_black():
    stream = CAMERA.model_copy(update={'resize': (6, 6)})
    pixels = image_reader(stream)(image(np.full((2, 3, 3), 200, np.uint8), 'rgb8')).pixels()
    assert pixels.shape == stream.shape == (6, 6, 3)
    np.testing.assert_array_equal(pixels[1:5], 200)  # Twice as large, in the middle.
    np.testing.assert_array_equal(pixels[[0, 5]], 0)


GREY = np.random.default_rng(3).integers(0, 255, (48, 85, 3), np.uint8)  # 848 x 480, smaller.


@pytest.mark.parametrize(
    ('resizing', 'black'),
    [('openpi', (49, 49)), ('lerobot', (49, 49)), ('lerobot_corner', (98, 0))],
)
def test_each_kind_of_policy_has_its_black_rows(resizing: str, black: tuple[int, int]):
    """480 rows of 848 columns become 126.8 of 224: 126, and the 98 others are black."""
    camera = CAMERA.model_copy(update={'height': 480, 'width': 848, 'resize': (224, 224)})
    sent = image(np.full((480, 848, 3), 200, np.uint8), 'rgb8')
    pixels = image_reader(camera)(sent).pixels(resizing)
    filled = np.flatnonzero(pixels.any(axis=(1, 2)))
    assert (filled[0], 223 - filled[-1]) == black
    np.testing.assert_array_equal(pixels[filled], 200)


def test_openpi_scales_as_its_client():
    scaled = RESIZINGS['openpi'](GREY, 24, 24)
    known = Pillow.fromarray(GREY).resize((24, 13), Pillow.Resampling.BILINEAR)
    np.testing.assert_array_equal(scaled[5:18], np.asarray(known))


@pytest.mark.parametrize(
    ('resizing', 'rows'), [('lerobot', (5, 18)), ('lerobot_corner', (11, 24))]
)
def test_lerobot_scales_as_its_networks(resizing: str, rows: tuple[int, int]):
    torch = pytest.importorskip('torch')
    scaled = RESIZINGS[resizing](GREY, 24, 24)
    known = torch.nn.functional.interpolate(
        torch.from_numpy(GREY).permute(2, 0, 1)[None].float(), (13, 24), mode='bilinear'
    )[0].permute(1, 2, 0)
    assert np.abs(scaled[slice(*rows)] - known.numpy()).max() <= 0.51


def test_a_picture_of_depth_is_no_colour():
    """1200 mm in 16 bits would become white."""
    stream = Stream(kind='compressed_image', topic='front', height=2, width=3)
    read = compressed_reader(stream)
    depth = compressed(np.full((2, 3), 1200, np.uint16))
    depth.format = '16UC1; png compressed '
    with pytest.raises(StreamError, match=r"format '16UC1; png compressed ' has 16 or more bits"):
        read(depth)
    for form in ('16UC1; compressedDepth png', ''):  # The header of its transport in front.
        packed = CompressedImage(format=form, data=array('B', bytes(12) + bytes(depth.data)))
        with pytest.raises(StreamError, match=rf"format '{form}' is a depth picture"):
            read(packed)


def test_channels_may_come_first():
    stream = CAMERA.model_copy(update={'channels_first': True})
    pixels = image_reader(stream)(image(PIXELS, 'rgb8')).pixels()
    assert pixels.shape == stream.shape == (3, 2, 3)
    np.testing.assert_array_equal(pixels[1], PIXELS[..., 1])


@pytest.mark.parametrize(
    ('message', 'sentence'),
    [
        (image(PIXELS[:, :2], 'rgb8'), 'expected 3 x 2 pixels, got 2 x 2'),
        (image(PIXELS, '16UC1'), "encoding '16UC1' is not understood; understood: rgb8"),
        (Image(height=2, width=3, encoding='rgb8', step=9, data=array('B', [0] * 17)),
         '17 bytes, step 9: too few for 2 rows of 9'),
        (Image(height=2, width=3, encoding='rgb8', step=3, data=array('B', [0] * 18)), 'step 3'),
    ],
)  # fmt: skip
def test_raw_pictures_that_are_none(message, sentence):
    with pytest.raises(StreamError, match=sentence):
        image_reader(CAMERA)(message)


def test_compressed_pictures_that_are_none():
    stream = Stream(kind='compressed_image', topic='front', height=2, width=3)
    read = compressed_reader(stream)
    with pytest.raises(StreamError, match='expected 3 x 2 pixels, got 2 x 2'):
        read(compressed(PIXELS[:, :2]))
    with pytest.raises(StreamError, match='neither JPEG nor PNG, 13 bytes that begin with 6e 6f'):
        read(CompressedImage(data=array('B', b'not a picture')))
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    whole = compressed(noise)
    large = stream.model_copy(update={'height': 40, 'width': 60})
    torn = compressed_reader(large)(CompressedImage(data=whole.data[: len(whole.data) // 2]))
    with pytest.raises(StreamError, match='a damaged picture'):
        torn.pixels()


# --- alignment ----------------------------------------------------------------------------------


def test_streams_are_aligned_at_the_request_and_keep_their_ages(node):
    robot = load('viperx')
    finger = robot.joint_names[-1:]
    wanted = {
        'state': Stream(kind='measured', size=7),
        'finger': Stream(kind='measured', size=1, joints=finger),
        'front': CAMERA,
        'task': Stream(kind='text'),
    }
    observations = Observations(node, wanted, robot, now_ns=lambda: 0)
    for stamp in range(0, 100, 10):  # The joints are quick, the camera is slow.
        observations.put('state', Sample(stamp, np.full(7, float(stamp))))
        observations.put('finger', Sample(stamp, np.arange(7.0) + stamp))
    for stamp in (5, 45, 85):
        observations.put('front', Sample(stamp, f'picture at {stamp}'))
    observations.put('task', Sample(50, 'go'))
    newest = observations.newest(57)
    assert {name: sample and sample.received_ns for name, sample in newest.items()} == {
        'state': 50, 'finger': 50, 'front': 45, 'task': 50,
    }  # fmt: skip
    assert newest['finger'].values == [56.0]
    assert observations.newest(49)['task'] is None
    observations.put('state', Sample(60, np.full(7, np.nan)))
    assert observations.newest(60)['state'].received_ns == 60  # Of before, with numbers in it.
    assert observations.faults['state'] == 1
    assert observations.reasons['state'] == 'NaN or infinity'


def test_topics_are_subscribed_to_as_the_description_says(node):
    content = load('franka').model_dump()
    content['joint_states'][0]['qos'] = 'reliable'
    robot = Embodiment.model_validate(content)
    wanted = {
        'state': Stream(kind='measured', size=8),
        'scene': Stream(kind='float64_multi_array', topic='scene', size=2, qos='reliable'),
        'front': CAMERA,
    }
    Observations(node, wanted, robot, now_ns=lambda: 0)
    asked = {s.topic_name: s.qos_profile.reliability for s in node.subscriptions}
    expected = {
        '/franka/joint_states': ReliabilityPolicy.RELIABLE,
        '/franka_gripper/joint_states': ReliabilityPolicy.BEST_EFFORT,
        '/scene': ReliabilityPolicy.RELIABLE,
        '/front': ReliabilityPolicy.BEST_EFFORT,
    }
    assert {topic: asked[topic] for topic in expected} == expected


# --- a policy node ------------------------------------------------------------------------------

POLICY = """
import torch
class Seen:
    horizon, action_dim = 16, 7
    expects = {'observation.state': (7,), 'raw': (24, 32, 3), 'packed': (3, 12, 12), 'task': (),
               'said': ()}
    def chunk(self, observation, generator):
        chunk = torch.zeros(1, 16, 7)
        assert observation['raw'].dtype == observation['packed'].dtype == torch.uint8
        chunk[..., 0] = observation['raw'].float().mean()
        chunk[..., 1] = observation['packed'][:, 0].float().mean()
        chunk[..., 2] = len(observation['task'][0])
        chunk[..., 3] = len(observation['said'][0])
        chunk[..., 4] = observation['observation.state'][0, 0]
        return chunk
def make(path): return Seen()
"""
ROBOT = {
    'extends': 'viperx',
    'name': 'watched',
    'observations': {
        'raw': {'kind': 'image', 'topic': 'front/image_raw', 'height': 24, 'width': 32},
        'packed': {
            'kind': 'compressed_image', 'topic': 'wrist/compressed', 'height': 24, 'width': 24,
            'resize': [12, 12], 'channels_first': True,
        },
        'task': {'kind': 'text'},
        'said': {'kind': 'text', 'topic': 'said'},
    },
}  # fmt: skip


class RobotPeer:
    """Stands for the robot, its cameras, its operator and the executor."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(args=[], context=self.context)
        self.node = rclpy.create_node('peer', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.answers: list[ActionChunk] = []
        self.status: dict[str, str] = {}
        self.number = 0
        self.node.create_subscription(ActionChunk, 'action_chunk', self.answers.append, 10)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnosed, 10)
        publish = self.node.create_publisher
        self.requests = publish(ChunkRequest, 'chunk_request', 10)
        self.joints = publish(JointState, 'joint_states', 10)
        self.front = publish(Image, 'front/image_raw', 10)
        self.wrist = publish(CompressedImage, 'wrist/compressed', 10)
        self.said = publish(String, 'said', 10)
        names = list(load('viperx').joint_names)
        self.sent: dict = {
            self.joints: JointState(name=names, position=[0.25] * 7),
            self.front: image(np.full((24, 32, 3), 100, np.uint8), 'bgr8'),
            self.wrist: compressed(np.full((24, 24, 3), 60, np.uint8)),
            self.said: String(data='gently'),
        }

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == 'policy':
                self.status = {item.key: item.value for item in status.values}
                self.status['message'] = status.message

    def ask(self, holds: Callable[[ActionChunk], object], delay: int = 0) -> ActionChunk:
        """Send everything and a request, again and again, until an answer is as it should be."""
        for _ in range(600):
            for publisher, message in self.sent.items():
                publisher.publish(message)
            self.number += 1
            self.requests.publish(
                ChunkRequest(
                    run_id=1, request_id=self.number, strategy='naive', delay=delay,
                    execution_horizon=8, columns=7, policy_rate_hz=50.0, control_rate_hz=50.0,
                )
            )  # fmt: skip
            for _ in range(4):
                self.executor.spin_once(timeout_sec=0.05)
            matching = [answer for answer in self.answers if holds(answer)]
            self.answers.clear()
            if matching:
                return matching[-1]
        pytest.fail(f'no such answer; the last status is {self.status}')

    def until(self, holds: Callable[[], object], what: str) -> None:
        for _ in range(1200):
            if holds():
                return
            self.executor.spin_once(timeout_sec=0.05)
        pytest.fail(f'still not: {what}; the last status is {self.status}')

    def instruct(self, text: str):
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=text)
        client = self.node.create_client(SetParameters, 'policy/set_parameters')
        self.until(client.service_is_ready, 'the parameter service is there')
        request = SetParameters.Request(parameters=[Parameter(name='instruction', value=value)])
        future = client.call_async(request)
        self.until(future.done, 'the parameter is set')
        return future.result().results[0]


@pytest.fixture(scope='module')
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('watched')
    (folder / 'seen.py').write_text(POLICY)
    (folder / 'watched.yaml').write_text(yaml.safe_dump(ROBOT))
    return folder


@pytest.fixture(scope='module')
def peer(ros_domain_id, written) -> Iterator[RobotPeer]:
    described = describe(
        str(written / 'watched.yaml'),
        {
            'policy': 'torch', 'policy_entry': f'{written / "seen.py"}:make',
            'instruction': 'fold', 'log_level': 'error',
        },
    )  # fmt: skip
    nodes = [node for node in described.nodes if node.name == 'policy']
    with Processes(nodes, '', 'error'):
        peer = RobotPeer()
        yield peer
        peer.executor.shutdown()
        peer.node.destroy_node()
        peer.context.shutdown()


def complete(answer: ActionChunk) -> bool:
    return answer.refusal == '' and answer.rows == 16


def test_a_policy_gets_joints_pictures_and_words(peer: RobotPeer) -> None:
    answer = peer.ask(complete)
    seen = np.array(answer.actions[:7])
    np.testing.assert_allclose(seen, [100, 60, len('fold'), len('gently'), 0.25, 0, 0], atol=1e-6)
    ages = dict(zip(answer.observation_names, answer.observation_ages, strict=True))
    assert set(ages) == {'observation.state', 'raw', 'packed', 'task', 'said'}
    assert all(age >= 0.0 for age in ages.values())
    assert answer.observation_age == max(ages[n] for n in ('observation.state', 'raw', 'packed'))
    assert 'observation.environment_state' not in ages  # The policy does not read it.


def test_the_instruction_changes_while_the_node_runs(peer: RobotPeer) -> None:
    assert peer.instruct('fold the towel').successful
    peer.ask(lambda answer: complete(answer) and answer.actions[2] == len('fold the towel'))
    refused = peer.instruct(' ')
    assert not refused.successful
    assert "'task' is the parameter instruction, which is empty" in refused.reason


@pytest.mark.parametrize('which', ['front', 'wrist', 'joints'])
def test_a_stream_that_ends_is_named_and_never_zero(peer: RobotPeer, which: str) -> None:
    peer.ask(complete)
    publisher = getattr(peer, which)
    kept = peer.sent.pop(publisher)
    answer = peer.ask(lambda answer: answer.refusal)
    topic = publisher.topic_name.lstrip('/')
    assert topic in answer.refusal
    assert 's old, at most 0.5 s are allowed' in answer.refusal
    assert answer.rows == 0
    peer.until(lambda: topic in peer.status.get('message', ''), 'diagnostics name the stream')
    assert int(peer.status['incomplete']) > 0
    peer.sent[publisher] = kept
    peer.ask(complete)


def test_a_camera_of_another_size_is_named_with_both(peer: RobotPeer) -> None:
    kept = peer.sent[peer.front]
    peer.sent[peer.front] = image(np.zeros((48, 64, 3), np.uint8), 'rgb8')
    answer = peer.ask(lambda answer: answer.refusal)
    assert 'raw (/front/image_raw)' in answer.refusal
    assert 'expected 32 x 24 pixels, got 64 x 48' in answer.refusal
    peer.until(lambda: int(peer.status.get('faults raw', 0)) > 0, 'the faults are counted')
    peer.sent[peer.front] = kept
    peer.ask(complete)


def test_a_delay_that_outgrows_the_horizon_is_counted_and_named(peer: RobotPeer) -> None:
    peer.until(lambda: peer.status.get('horizon_too_short') == '0', 'a first status')
    peer.ask(complete, delay=9)
    peer.until(lambda: int(peer.status['horizon_too_short']) > 0, 'it is counted')
    sentence = 'the horizon of 16 rows is too short: delay 9 + execution_horizon 8 = 17 rows'
    assert peer.status['message'] == sentence
    peer.ask(complete, delay=8)
    peer.until(lambda: peer.status['message'] == 'active', 'it is over')


def test_what_a_policy_reads_must_be_there_before_the_start(written: Path) -> None:
    entry = {'policy': 'torch', 'policy_entry': f'{written / "seen.py"}:make'}
    with pytest.raises(ValueError, match=r"reads 'raw' \(24 x 32 x 3\), robot viperx has only"):
        describe('viperx', entry)


def test_a_policy_that_is_too_slow_for_its_horizon_does_not_start(written: Path) -> None:
    (written / 'slow.py').write_text(
        POLICY.replace(
            '        chunk = ', '        import time; time.sleep(0.5)\n        chunk = '
        )
    )
    values = {
        'embodiment': str(written / 'watched.yaml'), 'policy': 'torch', 'autostart': 'true',
        'policy_entry': f'{written / "slow.py"}:make', 'instruction': 'fold',
    }  # fmt: skip
    words = [word for key, value in values.items() for word in ('-p', f'{key}:={value}')]
    done = subprocess.run(
        [sys.executable, '-m', 'async_chunking.nodes.policy_node', '--ros-args', *words],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == COULD_NOT_START
    assert re.search(
        r'the horizon of 16 rows is too short for execution_horizon 8 \+ delay \d+ = \d+ rows '
        r'\(the delay is \d+ ms at 50 Hz\)', done.stderr + done.stdout,
    )  # fmt: skip


def test_a_clock_that_was_set_back_makes_nothing_of_before_the_newest() -> None:
    from async_chunking.nodes.observations.streams import History

    measured = History(Stream(kind='measured', size=1))
    task = History(Stream(kind='text', topic='task'))
    later, soon = 112_000_000_000, 1_000_000
    measured.add(Sample(later, np.array([1.0])))
    task.add(Sample(later, 'go'))
    assert measured.newest(soon) is None
    assert task.newest(soon).values == 'go'  # It was said once.
    measured.add(Sample(soon, np.array([2.0])))
    assert measured.newest(soon + 1).values == [2.0]
    assert measured.newest(later).values == [2.0]


def test_samples_of_before_a_clock_was_set_back_are_forgotten() -> None:
    from async_chunking.nodes.observations.streams import History

    measured = History(Stream(kind='measured', size=1))
    for second in (49, 112, 50):
        measured.add(Sample(second * 1_000_000_000, np.array([float(second)])))
    assert measured.newest(50_000_000_000).values == [50.0]
    assert measured.newest(49_000_000_000) is None
