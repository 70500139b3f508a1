# SPDX-License-Identifier: Apache-2.0
"""What is recorded of a robot, whichever recorder does it."""

from __future__ import annotations

from async_chunking.robot.embodiment import Embodiment

# Without these a report is impossible or poorer; names are relative to the robot's namespace.
OWN = (
    'control_step', 'chunk_request', 'action_chunk', 'delay_estimate', 'episode', 'snapshot',
)  # fmt: skip


def recorded_topics(robot: Embodiment, images: bool = False) -> tuple[str, ...]:
    """
    Return the topics to record, relative to the robot's namespace unless they begin with '/'.

    Args:
        robot: Whose joints, observations and commands are added to the package's own topics.
        images: Record camera streams too.
    """
    measured = [source.topic for source in robot.sources]
    observed = [
        stream.topic for stream in robot.observations.values()
        if stream.topic and (images or 'image' not in stream.kind)
    ]  # fmt: skip
    commanded = [command.topic for command in robot.commands]
    topics = (*OWN, *measured, *observed, *commanded, '/diagnostics')
    return tuple(dict.fromkeys(topics))
