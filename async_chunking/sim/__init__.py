# SPDX-License-Identifier: Apache-2.0
"""Simulated robots and the tasks they do; needs mujoco, never torch or ROS."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from async_chunking.settings import SettingsError, unknown

if TYPE_CHECKING:
    from async_chunking.sim.task import Task

# Pictures are rendered off screen; mujoco reads this when it is imported.
os.environ.setdefault('MUJOCO_GL', 'egl')

# Name -> 'module:Class' below this package, imported only when it is used.
TASKS: dict[str, str] = {
    'viperx_slalom': 'viperx_slalom:ViperXSlalom',
    'viperx_bimanual_carry': 'viperx_bimanual_carry:ViperXBimanualCarry',
    'franka_catch': 'franka_catch:FrankaCatch',
    'panda_catch': 'franka_catch:PandaCatch',
    'humanoid_place': 'humanoid_place:HumanoidPlace',
}


def make_task(name: str) -> Task:
    """Return a fresh task by name.

    Raises:
        SettingsError: There is no such task; the message lists those there are.
    """
    if name not in TASKS:
        raise SettingsError(unknown('task', name, TASKS))
    module, _, attribute = TASKS[name].partition(':')
    return getattr(importlib.import_module(f'async_chunking.sim.{module}'), attribute)()
