# SPDX-License-Identifier: Apache-2.0
"""Pictures of cameras: checked when they come, decoded when a request asks for them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps
from sensor_msgs.msg import CompressedImage, Image

from async_chunking.nodes.observations.errors import StreamError
from async_chunking.robot.embodiment import Stream

# ROS encoding -> channels, and which of them are red, green and blue.
ENCODINGS: dict[str, tuple[int, tuple[int, int, int]]] = {
    'rgb8': (3, (0, 1, 2)),
    'bgr8': (3, (2, 1, 0)),
    'rgba8': (4, (0, 1, 2)),
    'bgra8': (4, (2, 1, 0)),
    'mono8': (1, (0, 0, 0)),
}


@dataclass(frozen=True)
class Picture:
    """A picture that is decoded when it is asked for.

    Attributes:
        decode: Returns the camera's pixels [height, width, 3], RGB.
        resize: Height and width to scale it to, None for those it has.
        channels_first: Whether the channels come first.
    """

    decode: Callable[[], np.ndarray] = field(repr=False)
    resize: tuple[int, int] | None = None
    channels_first: bool = False

    def pixels(self) -> np.ndarray:
        """Return the pixels that the policy gets, uint8.

        Raises:
            StreamError: What came is no picture after all.
        """
        pixels = self.decode()
        if self.resize is not None and pixels.shape[:2] != self.resize:
            height, width = self.resize
            pixels = np.asarray(ImageOps.pad(Pillow.fromarray(pixels), (width, height)))
        return np.moveaxis(pixels, 2, 0) if self.channels_first else pixels


def image_reader(stream: Stream) -> Callable[[Image], Picture]:
    """Return what reads the raw pictures of a stream; it refuses a wrong size or encoding."""

    def read(message: Image) -> Picture:
        if message.encoding not in ENCODINGS:
            known = ', '.join(ENCODINGS)
            msg = f"encoding '{message.encoding}' is not understood; understood: {known}"
            raise StreamError(msg)
        _check_size(stream, message.height, message.width)
        channels, _ = ENCODINGS[message.encoding]
        least = message.width * channels
        if message.step < least or len(message.data) < message.step * message.height:
            msg = (
                f'{len(message.data)} bytes, step {message.step}: too few for {message.height} '
                f'rows of {least} bytes'
            )
            raise StreamError(msg)
        return _picture(stream, lambda: _raw(message))

    return read


def compressed_reader(stream: Stream) -> Callable[[CompressedImage], Picture]:
    """Return what reads the compressed pictures (JPEG, PNG) of a stream."""

    def read(message: CompressedImage) -> Picture:
        content = bytes(message.data)
        image = _opened(content)  # Reads no more than the header.
        _check_size(stream, image.height, image.width)
        return _picture(stream, lambda: _decompressed(content))

    return read


def _picture(stream: Stream, decode: Callable[[], np.ndarray]) -> Picture:
    return Picture(decode, stream.resize, stream.channels_first)


def _check_size(stream: Stream, height: int, width: int) -> None:
    if (height, width) != (stream.height, stream.width):
        msg = (
            f'expected {stream.width} x {stream.height} pixels, got {width} x {height}; '
            f'correct width and height in the YAML, resize has what the policy wants'
        )
        raise StreamError(msg)


def _raw(message: Image) -> np.ndarray:
    channels, order = ENCODINGS[message.encoding]
    rows = np.frombuffer(message.data, dtype=np.uint8, count=message.step * message.height)
    rows = rows.reshape(message.height, message.step)[:, : message.width * channels]
    return np.ascontiguousarray(rows.reshape(message.height, message.width, channels)[..., order])


def _opened(content: bytes) -> Any:
    try:
        return Pillow.open(io.BytesIO(content), formats=('JPEG', 'PNG'))
    except (OSError, Pillow.DecompressionBombError) as error:
        msg = f'neither JPEG nor PNG ({error})'
        raise StreamError(msg) from None


def _decompressed(content: bytes) -> np.ndarray:
    try:
        return np.asarray(_opened(content).convert('RGB'))
    except (OSError, SyntaxError) as error:
        msg = f'a damaged picture ({error})'
        raise StreamError(msg) from None
