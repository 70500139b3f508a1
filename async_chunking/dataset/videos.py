# SPDX-License-Identifier: Apache-2.0
"""
Videos of a data set, as LeRobotDataset v3 wants them: a picture per frame, all episodes in a row.

Every second picture stands for itself, so that any frame is found quickly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from async_chunking.dataset.footage import Footage
from async_chunking.errors import AsyncChunkingError

VIDEO = 'videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4'
# Names, as LeRobot spells them, and shares of the values that lie below.
QUANTILES = {'q01': 0.01, 'q10': 0.1, 'q50': 0.5, 'q90': 0.9, 'q99': 0.99}
_CODEC = 'h264'
_OPTIONS = {'g': '2', 'crf': '18', 'preset': 'veryfast'}
_MOST = 65_536  # Denominator of a rate, at most.


def require_encoder() -> None:
    """
    Refuse to begin where no video can be written.

    Raises:
        AsyncChunkingError: The library is not installed; says how it is.
    """
    try:
        import av  # noqa: F401
    except ModuleNotFoundError:
        msg = "cameras become videos, which need av: pip install '.[video]' in the checkout"
        raise AsyncChunkingError(msg) from None


def video_path(name: str) -> str:
    """Return where the video of a camera is, relative to the data set."""
    return VIDEO.format(video_key=name, chunk_index=0, file_index=0)


def pixel_format(height: int, width: int) -> str:
    """Return how pixels are stored; those that share a colour come in squares of four."""
    return 'yuv444p' if height % 2 or width % 2 else 'yuv420p'


def video_feature(height: int, width: int, fps: float) -> dict[str, Any]:
    """Return what `info.json` says of a camera."""
    return {
        'dtype': 'video',
        'shape': [height, width, 3],
        'names': ['height', 'width', 'channels'],
        'info': {
            'video.height': height,
            'video.width': width,
            'video.codec': _CODEC,
            'video.pix_fmt': pixel_format(height, width),
            'video.is_depth_map': False,
            'video.fps': fps,
            'video.channels': 3,
            'has_audio': False,
        },
    }


def video_columns(names: Iterable[str], begins: np.ndarray, ends: np.ndarray) -> dict[str, Any]:
    """Return where each episode is in the videos, for the table of episodes.

    Args:
        names: Cameras.
        begins: [E] [s].
        ends: [E] [s].
    """
    zeros = np.zeros(len(begins), dtype=np.int64)
    return {
        f'videos/{name}/{key}': values
        for name in names
        for key, values in (
            ('chunk_index', zeros),
            ('file_index', zeros),
            ('from_timestamp', begins),
            ('to_timestamp', ends),
        )
    }


def write_video(path: Path, footage: Sequence[Footage], fps: float) -> dict[str, list]:
    """Write the pictures of one camera in all episodes, one after the other.

    Returns:
        What `stats.json` says of the pixels of each channel, as shares of white.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    counts, frames = np.zeros((3, 256), dtype=np.int64), 0
    with av.open(str(path), 'w') as file:
        stream = file.add_stream(_CODEC, Fraction(fps).limit_denominator(_MOST), _OPTIONS)
        for pixels in _pictures(footage):
            stream.height, stream.width = pixels.shape[:2]
            stream.pix_fmt = pixel_format(*pixels.shape[:2])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, 'rgb24')))
            counts += [np.bincount(pixels[..., k].ravel(), minlength=256) for k in range(3)]
            frames += 1
        file.mux(stream.encode())
    return _statistics(counts, frames)


def _pictures(footage: Sequence[Footage]) -> Iterator[np.ndarray]:
    """Yield all pictures [h, w, 3], reading each recording once."""
    for camera, shots in groupby(footage, key=lambda shot: shot.camera):
        yield from camera.pictures(np.concatenate([shot.numbers for shot in shots]).tolist())


def _statistics(counts: np.ndarray, frames: int) -> dict[str, list]:
    """Return facts of pixels from how often each value of each channel occurs [3, 256]."""
    values = np.arange(256) / 255.0
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    below = np.cumsum(shares, axis=1)
    facts = {
        'min': [values[row > 0].min() for row in counts],
        'max': [values[row > 0].max() for row in counts],
        'mean': mean,
        'std': np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1)),
    } | {
        name: [values[np.searchsorted(row, share - 1e-9)] for row in below]
        for name, share in QUANTILES.items()
    }
    nested = {name: [[[float(value)]] for value in row] for name, row in facts.items()}
    return nested | {'count': [frames]}
