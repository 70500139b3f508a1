# SPDX-License-Identifier: Apache-2.0
"""
Pictures of cameras: checked when they come, decoded when they are asked for.

Messages are those of sensor_msgs, or anything with the same fields, as a recording gives.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image as Pillow

from async_chunking.cameras.resizing import RESIZINGS
from async_chunking.errors import StreamError
from async_chunking.robot.wiring import Stream

# ROS encoding -> channels, and which of them are red, green and blue.
ENCODINGS: dict[str, tuple[int, tuple[int, int, int]]] = {
    'rgb8': (3, (0, 1, 2)),
    'bgr8': (3, (2, 1, 0)),
    'rgba8': (4, (0, 1, 2)),
    'bgra8': (4, (2, 1, 0)),
    'mono8': (1, (0, 0, 0)),
}


# Kinds of pixel, as Pillow names them, that are 8 bits a channel; depth has 16 and is no colour.
_EIGHT_BITS = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'CMYK', 'YCbCr')
# What a camera had before image_transport compressed it, which is no colour or none of 8 bits.
_NO_COLOUR = ('16UC1', '32FC1', 'mono16', '16SC1', 'bayer')
_DEPTH_HEADER = 12  # Bytes that compressed_depth_image_transport puts in front of its PNG.
_PNG = b'\x89PNG'
_PNG_KIND = slice(24, 26)  # Bits a channel, and kind of colour: 0 and 4 are grey.


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

    def pixels(self, resizing: str = 'openpi') -> np.ndarray:
        """Return the pixels that the policy gets, uint8.

        Args:
            resizing: How the policy's training scaled pictures, see `RESIZINGS`.

        Raises:
            StreamError: What came is no picture after all.
        """
        pixels = self.decode()
        if self.resize is not None and pixels.shape[:2] != self.resize:
            pixels = RESIZINGS[resizing](pixels, *self.resize)
        return np.moveaxis(pixels, 2, 0) if self.channels_first else pixels


def image_reader(stream: Stream) -> Callable[[Any], Picture]:
    """Return what reads a stream's `Image` messages; it refuses a wrong size or encoding."""

    def read(message: Any) -> Picture:
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


def compressed_reader(stream: Stream) -> Callable[[Any], Picture]:
    """Return what reads a stream's `CompressedImage` messages (JPEG, PNG)."""

    def read(message: Any) -> Picture:
        content = bytes(message.data)
        image = _opened(content, message.format)  # Reads no more than the header.
        _check_size(stream, image.height, image.width)
        return _picture(stream, lambda: _decompressed(content, message.format))

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


def _raw(message: Any) -> np.ndarray:
    channels, order = ENCODINGS[message.encoding]
    rows = np.frombuffer(message.data, dtype=np.uint8, count=message.step * message.height)
    rows = rows.reshape(message.height, message.step)[:, : message.width * channels]
    return np.ascontiguousarray(rows.reshape(message.height, message.width, channels)[..., order])


def _opened(content: bytes, form: str) -> Any:
    if 'compressedDepth' in form or content[_DEPTH_HEADER : _DEPTH_HEADER + 4] == _PNG:
        msg = (
            f"format '{form}' is a depth picture, not a colour one; name the camera's colour topic"
        )
        raise StreamError(msg)
    try:
        image = Pillow.open(io.BytesIO(content), formats=('JPEG', 'PNG'))
    except Pillow.UnidentifiedImageError:
        begin = content[:8].hex(' ') or 'nothing'
        msg = (
            f"format '{form}': neither JPEG nor PNG, {len(content)} bytes that begin with {begin}"
        )
        raise StreamError(msg) from None
    except (OSError, Pillow.DecompressionBombError) as error:
        msg = f"format '{form}': a damaged picture ({error})"
        raise StreamError(msg) from None
    bits, kind = content[_PNG_KIND] if image.format == 'PNG' else (8, 0)
    if image.mode not in _EIGHT_BITS or (bits > 8 and kind in (0, 4)):
        msg = f"format '{form}' has 16 or more bits a pixel ({image.mode}): depth, not colour"
        raise StreamError(msg)
    was, _, compressed = form.partition(';')
    if was.startswith(_NO_COLOUR) and 'compressed bgr' not in compressed:
        msg = f"format '{form}' was {was}, which is no colour of 8 bits; name the colour topic"
        raise StreamError(msg)
    return image


def _decompressed(content: bytes, form: str) -> np.ndarray:
    try:
        pixels = np.asarray(_opened(content, form).convert('RGB'))
        return pixels[..., ::-1] if _turned(form) else pixels
    except (OSError, SyntaxError) as error:
        msg = f'a damaged picture ({error})'
        raise StreamError(msg) from None


def _turned(form: str) -> bool:
    """
    Return whether red and blue are exchanged in the file.

    image_transport says of colours that it compressed them as BGR, which the codec expects, or
    else it gave them to the codec in another order; its subscriber turns these round.
    """
    was, _, compressed = form.partition(';')
    colour = was in ENCODINGS and ENCODINGS[was][0] > 1
    return colour and 'compressed' in compressed and 'compressed bgr' not in compressed
