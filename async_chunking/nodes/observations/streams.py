# SPDX-License-Identifier: Apache-2.0
"""Observation streams: a message becomes an array, a history finds the one that fits a request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, String

from async_chunking.errors import StreamError
from async_chunking.nodes.observations.sample import Sample
from async_chunking.robot.embodiment import Stream

_SAMPLES, _PICTURES = 256, 16  # That are remembered of a stream.
_SMALL = 1 << 16  # Names, labels and texts of a message take no more [bytes].


class JointReader:
    """Picks the robot's joints out of a JointState by name, whatever its order and extras.

    Args:
        joint_names: As in the message, in the order that is wanted [D].
        topic: For what is said about bad messages.
    """

    def __init__(self, joint_names: tuple[str, ...], topic: str = 'joint_states') -> None:
        self._joints = joint_names
        self._topic = topic
        self._names: list[str] = []
        self._index = np.empty(0, dtype=np.intp)

    def __call__(self, message: JointState) -> np.ndarray:
        """Return the positions [D] [rad, m].

        Raises:
            StreamError: A joint is missing or there twice, or a position is not finite.
        """
        if message.name != self._names:
            names = list(message.name)
            missing = [name for name in self._joints if name not in names]
            if missing:
                msg = f'{self._topic} lacks {", ".join(missing)}; it has {", ".join(names)}'
                raise StreamError(msg)
            twice = [name for name in self._joints if names.count(name) > 1]
            if twice:
                msg = f'{self._topic} has {twice[0]} twice; it has {", ".join(names)}'
                raise StreamError(msg)
            self._index = np.array([names.index(name) for name in self._joints])
            self._names = names
        if len(message.position) != len(self._names):
            msg = f'{self._topic} has {len(message.position)} positions, {len(self._names)} names'
            raise StreamError(msg)
        positions = np.frombuffer(message.position)[self._index]
        if not np.isfinite(positions).all():
            msg = f'{self._topic} holds NaN or infinity'
            raise StreamError(msg)
        return positions


def read_array(message: Float64MultiArray) -> np.ndarray:
    """Return the numbers of an array message."""
    return np.array(message.data)


def read_text(message: String) -> str:
    """Return a text.

    Raises:
        StreamError: It is empty.
    """
    if not message.data.strip():
        msg = 'an empty text'
        raise StreamError(msg)
    return message.data


def message_type(kind: str) -> type:
    """Return the messages of a kind of stream; 'measured' has types of its own."""
    return {
        'joint_state': JointState, 'float64_multi_array': Float64MultiArray, 'text': String,
        'image': Image, 'compressed_image': CompressedImage,
    }[kind]  # fmt: skip


def most_bytes(stream: Stream) -> int:
    """Return how large a message of a stream may be; what is larger is not even deserialised."""
    if not stream.is_image:
        return _SMALL + 8 * (stream.size or 0)
    pixels = (stream.height or 0) * (stream.width or 0)
    return _SMALL + 4 * pixels  # Four channels; a compressed picture is smaller.


def make_reader(stream: Stream, joint_names: tuple[str, ...]) -> Callable[[Any], Any]:
    """Return what turns the messages of a stream into the values of a sample."""
    if stream.is_image:
        from async_chunking.cameras import reading  # Only who has cameras needs Pillow.

        compressed = stream.kind == 'compressed_image'
        return (reading.compressed_reader if compressed else reading.image_reader)(stream)
    if stream.kind == 'joint_state':
        return JointReader(stream.joints or joint_names, stream.topic)
    return read_text if stream.kind == 'text' else read_array


_SET_BACK_NS = 1_000_000_000  # No sample is of the future by so much otherwise [ns].


class History:
    """The last samples of one stream, oldest first.

    Args:
        stream: What is remembered; few pictures are, as they are large.
    """

    def __init__(self, stream: Stream) -> None:
        self._size = stream.size
        self._ages = stream.kind != 'text'
        length = _PICTURES if stream.is_image else _SAMPLES
        self._samples: deque[Sample] = deque(maxlen=length)

    def add(self, sample: Sample) -> None:
        """Remember a sample.

        Raises:
            StreamError: It has the wrong size, or is not finite.
        """
        if self._size is not None:
            if sample.values.shape != (self._size,):
                msg = f'expected {self._size} numbers, got {sample.values.size}'
                raise StreamError(msg)
            if not np.isfinite(sample.values).all():
                msg = 'NaN or infinity'
                raise StreamError(msg)
        newest = self.latest
        if newest is not None and sample.received_ns < newest.received_ns:
            self._samples.clear()  # A clock was set back: all of before would be of the future.
        self._samples.append(sample)

    @property
    def latest(self) -> Sample | None:
        """The newest sample."""
        return self._samples[-1] if self._samples else None

    def newest(self, until_ns: int) -> Sample | None:
        """Return the newest sample not newer than a time, None if there is none."""
        samples = self._samples.copy()  # Another thread may append meanwhile.
        sample = next((s for s in reversed(samples) if s.received_ns <= until_ns), None)
        if sample is None and samples and not self._ages:
            # What was said once holds on when the clock was set back.
            return samples[-1] if samples[-1].received_ns - until_ns > _SET_BACK_NS else None
        return sample
