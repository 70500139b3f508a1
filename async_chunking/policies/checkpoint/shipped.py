# SPDX-License-Identifier: Apache-2.0
"""Where a policy's folder is: a path, or the name of one that comes with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.settings import unknown

SHIPPED = Path(str(files('async_chunking.policies'))) / 'shipped'


def policy_directory(path: str) -> Path:
    """Return the folder of a policy.

    Raises:
        CheckpointError: There is no such folder; the message lists those that are shipped.
    """
    folder = Path(path)
    if folder.is_dir():
        return folder
    if (SHIPPED / path).is_dir():
        return SHIPPED / path
    names = sorted(p.name for p in SHIPPED.iterdir()) if SHIPPED.is_dir() else []
    msg = (
        f'{unknown("policy", path, names)}; or the path of a folder of checkpoints; or, without '
        'any, policy:=wave'
    )
    raise CheckpointError(msg)
