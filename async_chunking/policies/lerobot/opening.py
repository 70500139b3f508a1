# SPDX-License-Identifier: Apache-2.0
"""`policy:=lerobot policy_path:=FOLDER`: LeRobot's folder, or one of recipes trained on one."""

from __future__ import annotations

from pathlib import Path

from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.lerobot.source import LeRobotSource
from async_chunking.policies.lerobot.trained import TrainedSource
from async_chunking.policies.source import PolicySource, PolicySpec


def open_policy(spec: PolicySpec) -> PolicySource:
    """Return the checkpoint at a path, or the recipes that were trained on one."""
    if not spec.options.policy_path:
        msg = 'policy:=lerobot needs policy_path:=FOLDER, a checkpoint saved by LeRobot'
        raise CheckpointError(msg)
    path = Path(spec.options.policy_path)
    if (path / 'lerobot.json').is_file():
        return TrainedSource(path)
    source = LeRobotSource(path)
    source.check()
    return source
