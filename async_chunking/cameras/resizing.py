# SPDX-License-Identifier: Apache-2.0
"""
Pictures scaled as the policy's training scaled them: its shape kept, the rest black.

A policy sees every pixel that differs from its training, so each kind of policy has its own way:
which filter, how sizes are rounded, and where the black bars are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image as Pillow


def _inner(shape: tuple[int, ...], height: int, width: int) -> tuple[int, int]:
    """Return height and width of a picture in the frame that it is to fill; parts are cut off."""
    ratio = max(shape[1] / width, shape[0] / height)
    return max(int(shape[0] / ratio), 1), max(int(shape[1] / ratio), 1)


def openpi(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """
    Scale as the client of openpi does before it sends: Pillow's bilinear filter, centred.

    Args:
        pixels: [h, w, 3] uint8.
        height: Wanted [pixels].
        width: Wanted [pixels].
    """
    inner_height, inner_width = _inner(pixels.shape, height, width)
    size = inner_width, inner_height
    scaled = Pillow.fromarray(pixels).resize(size, Pillow.Resampling.BILINEAR)
    return _framed(np.asarray(scaled), height, width, centred=True)


def lerobot(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale as π0 and π0.5 of LeRobot do: bilinear between four pixels, centred; see `openpi`."""
    return _framed(
        _interpolated(pixels, *_inner(pixels.shape, height, width)), height, width, True
    )


def lerobot_corner(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale as SmolVLA does: the same, but black at the top and at the left; see `openpi`."""
    scaled = _interpolated(pixels, *_inner(pixels.shape, height, width))
    return _framed(scaled, height, width, False)


# Name, as `PolicySource.resizing` has it -> function of pixels, height and width.
RESIZINGS: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    'openpi': openpi, 'lerobot': lerobot, 'lerobot_corner': lerobot_corner,
}  # fmt: skip


def _framed(pixels: np.ndarray, height: int, width: int, centred: bool) -> np.ndarray:
    spare = height - pixels.shape[0], width - pixels.shape[1]
    top, left = (spare[0] // 2, spare[1] // 2) if centred else spare
    framed = np.zeros((height, width, 3), dtype=np.uint8)
    framed[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return framed


def _interpolated(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return pixels between their four neighbours, with pixel centres at halves."""
    values = pixels.astype(np.float32)
    for axis, wanted in ((0, height), (1, width)):
        size = values.shape[axis]
        place = np.maximum((np.arange(wanted) + 0.5) * (size / wanted) - 0.5, 0.0)
        low = place.astype(np.intp)
        share = (place - low).astype(np.float32)
        share = share[:, None, None] if axis == 0 else share[None, :, None]
        high = np.minimum(low + 1, size - 1)
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return np.round(values).astype(np.uint8)
