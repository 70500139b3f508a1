# SPDX-License-Identifier: Apache-2.0
"""Pictures that cameras and drivers send; left out where ROS 2 is not there."""

from __future__ import annotations

import io
from array import array
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from odd_files import Case

HEIGHT, WIDTH = 480, 848


def _keep(pixels: np.ndarray, form: str, kind: str = 'PNG', front: int = 0):
    def make(folder: Path) -> None:
        from PIL import Image

        content = io.BytesIO()
        Image.fromarray(pixels).save(content, kind)
        (folder / 'picture').write_bytes(bytes(front) + content.getvalue())
        (folder / 'format').write_text(form)

    return make


def _bytes(content: bytes, form: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / 'picture').write_bytes(content)
        (folder / 'format').write_text(form)

    return make


def _seen(folder: Path) -> str:
    """Return how many rows are black once the picture is scaled, and the value of the others."""
    from sensor_msgs.msg import CompressedImage

    from async_chunking.nodes.observations.pictures import compressed_reader
    from async_chunking.robot.wiring import Stream

    stream = Stream(
        kind='compressed_image', topic='camera', height=HEIGHT, width=WIDTH, resize=(224, 224)
    )
    data = array('B', (folder / 'picture').read_bytes())
    message = CompressedImage(format=(folder / 'format').read_text(), data=data)
    pixels = compressed_reader(stream)(message).pixels()
    black = (pixels == 0).all(axis=(1, 2)).sum()
    return f'{black} black rows, others {pixels[112, 112].tolist()}'


COLOUR = np.full((HEIGHT, WIDTH, 3), (10, 20, 30), np.uint8)
GREY = np.full((HEIGHT, WIDTH), 40, np.uint8)
DEPTH = np.full((HEIGHT, WIDTH), 1200, np.uint16)

CASES = [
    Case('picture, colours', _keep(COLOUR, 'rgb8; png compressed rgb8'), _seen,
         '98 black rows, others [10, 20, 30]'),
    Case('picture, grey', _keep(GREY, 'mono8; png compressed'), _seen,
         '98 black rows, others [40, 40, 40]'),
    Case('picture, depth in 16 bits', _keep(DEPTH, '16UC1; png compressed'), _seen,
         ('16 or more bits', '16UC1')),
    Case('picture, compressedDepth', _keep(DEPTH, '16UC1; compressedDepth png', front=12), _seen,
         ('compressedDepth', 'depth picture')),
    Case('picture, another format', _bytes(b'RIFF\0\0\0\0WEBPVP8 ', 'webp'), _seen,
         ("format 'webp'", 'neither JPEG nor PNG', '52 49 46 46')),
    Case('picture, no bytes', _bytes(b'', 'jpeg'), _seen, ('0 bytes that begin with nothing',)),
] if find_spec('sensor_msgs') and find_spec('PIL') else []  # fmt: skip
