# SPDX-License-Identifier: Apache-2.0
"""Pictures that cameras and drivers send; left out where ROS 2 is not there."""

from __future__ import annotations

import io
import struct
import zlib
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

    from async_chunking.cameras.reading import compressed_reader
    from async_chunking.robot.wiring import Stream

    stream = Stream(
        kind='compressed_image', topic='camera', height=HEIGHT, width=WIDTH, resize=(224, 224)
    )
    data = array('B', (folder / 'picture').read_bytes())
    message = CompressedImage(format=(folder / 'format').read_text(), data=data)
    pixels = compressed_reader(stream)(message).pixels()
    black = (pixels == 0).all(axis=(1, 2)).sum()
    return f'{black} black rows, others {pixels[112, 112].tolist()}'


def _chunk(kind: bytes, content: bytes) -> bytes:
    sum_of = struct.pack('>I', zlib.crc32(kind + content))
    return struct.pack('>I', len(content)) + kind + content + sum_of


def _deep(kind: int, channels: int) -> bytes:
    """Return a PNG of 16 bits a channel, which Pillow does not write, all of it 1200."""
    header = struct.pack('>IIBBBBB', WIDTH, HEIGHT, 16, kind, 0, 0, 0)
    rows = (b'\0' + struct.pack('>H', 1200) * channels * WIDTH) * HEIGHT
    parts = _chunk(b'IHDR', header) + _chunk(b'IDAT', zlib.compress(rows)) + _chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + parts


def _turned_over() -> bytes:
    """Return a JPEG that says to be shown upside down, which readers of ROS do not."""
    from PIL import Image

    content, about = io.BytesIO(), Image.Exif()
    about[0x0112] = 3
    Image.fromarray(LOWER).save(content, 'JPEG', exif=about)
    return content.getvalue()


COLOUR = np.full((HEIGHT, WIDTH, 3), (10, 20, 30), np.uint8)
CLEAR = np.dstack([COLOUR, np.zeros((HEIGHT, WIDTH), np.uint8)])
LOWER = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
LOWER[:304] = 0  # More than half, so that the middle says which way up it is.
GREY = np.full((HEIGHT, WIDTH), 40, np.uint8)
DEPTH = np.full((HEIGHT, WIDTH), 1200, np.uint16)

CASES = [
    Case('picture, colours', _keep(COLOUR, 'rgb8; png compressed bgr8'), _seen,
         '98 black rows, others [10, 20, 30]'),
    Case('picture, colours not turned by who compressed',
         _keep(COLOUR, 'rgb8; png compressed rgb8'), _seen,
         '98 black rows, others [30, 20, 10]'),
    Case('picture, colours and no more said', _keep(COLOUR, 'png'), _seen,
         '98 black rows, others [10, 20, 30]'),
    Case('picture, transparent', _keep(CLEAR, 'rgba8; png compressed bgra8'), _seen,
         '98 black rows, others [10, 20, 30]'),
    Case('picture, colours in 16 bits', _bytes(_deep(2, 3), 'rgb16; png compressed bgr16'), _seen,
         '98 black rows, others [4, 4, 4]'),
    Case('picture, said to be upside down', _bytes(_turned_over(), 'jpeg'), _seen,
         '177 black rows, others [0, 0, 0]'),
    Case('picture, grey', _keep(GREY, 'mono8; png compressed'), _seen,
         '98 black rows, others [40, 40, 40]'),
    Case('picture, depth in 16 bits', _keep(DEPTH, '16UC1; png compressed'), _seen,
         ('16 or more bits', '16UC1')),
    Case('picture, depth in 16 bits beside transparency', _bytes(_deep(4, 2), 'png'), _seen,
         ('16 or more bits',)),
    Case('picture, depth squeezed into a JPEG',
         _keep(GREY, '16UC1; jpeg compressed ', 'JPEG'), _seen, ('16UC1', 'no colour of 8 bits')),
    Case('picture, the mosaic of a sensor', _keep(GREY, 'bayer_rggb8; png compressed '), _seen,
         ('bayer_rggb8', 'no colour of 8 bits')),
    Case('picture, torn', _bytes(_deep(2, 3)[:60], 'png'), _seen, ('damaged picture',)),
    Case('picture, depth as RVL', _bytes(bytes(12) + b'\1\2\3' * 9, '16UC1; compressedDepth rvl'),
         _seen, ('compressedDepth', 'depth picture')),
    Case('picture, compressedDepth', _keep(DEPTH, '16UC1; compressedDepth png', front=12), _seen,
         ('compressedDepth', 'depth picture')),
    Case('picture, another format', _bytes(b'RIFF\0\0\0\0WEBPVP8 ', 'webp'), _seen,
         ("format 'webp'", 'neither JPEG nor PNG', '52 49 46 46')),
    Case('picture, no bytes', _bytes(b'', 'jpeg'), _seen, ('0 bytes that begin with nothing',)),
] if find_spec('sensor_msgs') and find_spec('PIL') else []  # fmt: skip
