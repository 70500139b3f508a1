# SPDX-License-Identifier: Apache-2.0
"""gym-aloha (package gym_aloha), with poses instead of pictures, which take all the time."""

from __future__ import annotations

from typing import Any


def make(task: str) -> Any:
    """
    Return a task of gym-aloha: transfer_cube or insertion.

    It observes 'agent_pos' [14] [rad, grippers 0 to 1] and 'environment_state', the poses of what
    lies on the table [m, quaternions].
    """
    from gym_aloha.env import AlohaEnv

    class WithoutPictures(AlohaEnv):
        def __init__(self) -> None:
            super().__init__(task, obs_type='pixels_agent_pos')
            inner = self._env.task
            inner.get_observation = lambda physics: {
                'qpos': inner.get_qpos(physics),
                'env_state': inner.get_env_state(physics),
            }

        def _format_raw_obs(self, raw_obs: Any) -> dict[str, Any]:
            return {'agent_pos': raw_obs['qpos'], 'environment_state': raw_obs['env_state']}

    return WithoutPictures()
