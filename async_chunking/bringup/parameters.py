# SPDX-License-Identifier: Apache-2.0
"""The ROS parameters of every node, as data: declared by the nodes, checked before they start.

A field is a parameter; its description, range and default are what `ros2 param describe` shows.
Those marked `RUNTIME` may be changed while the node is active, all others only before `configure`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from async_chunking.delay import ESTIMATORS
from async_chunking.policies.options import RUNTIME, InferenceOptions
from async_chunking.settings import Settings

# What every ROS node has, beside its own parameters.
STANDARD = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')


class NodeParameters(Settings):
    """What every node of a robot has."""

    embodiment: str = Field(
        'viperx', description='Robot: a name in config/ or the path of a YAML file'
    )
    sim: bool = Field(True, description='Topics of the simulated robot, not those of the driver')
    autostart: bool = Field(False, description='Configure and activate without being asked')
    activate: bool = Field(True, description='With autostart; else stay inactive')


class ExecutorParameters(NodeParameters):
    """Parameters of the executor node."""

    strategy: str = Field(
        'naive', description='Name, or names joined by +', json_schema_extra=RUNTIME
    )
    horizon: int = Field(16, ge=1, le=10_000, description='Rows of a chunk [steps]')
    execution_horizon: int = Field(8, ge=1, description='Rows between two requests [steps]')
    policy_rate_hz: float = Field(50.0, gt=0.0, description='Rows of a chunk per second [Hz]')
    offers: str = Field('', description='What strategies may rely on, names separated by spaces')
    policy_path: str = Field('', description='Folder of checkpoints; only correctors need it here')
    request_timeout_s: float = Field(1.0, gt=0.0, description='Ask again after this [s]')
    hold_timeout_s: float = Field(
        10.0, ge=0.0, description='A longer hold becomes a safe stop [s]'
    )
    blend_s: float = Field(0.5, ge=0.0, description='The first chunk is blended in over this [s]')
    limit_tolerance: float = Field(
        0.1,
        ge=0.0,
        description='Chunks farther outside the position limits are rejected [share of range]',
    )
    stale_s: float = Field(0.5, gt=0.0, description='Older joint positions are not trusted [s]')
    settle_s: float = Field(
        0.2, gt=0.0, le=10.0, description='So long joints must be measured at one place [s]'
    )
    pose_tolerance: float = Field(
        0.05,
        gt=0.0,
        le=1.0,
        description='How far outside its limits a joint may be measured [share of range]',
    )
    displaced: float = Field(
        0.05,
        gt=0.0,
        description='A joint farther from its command at a reset is displaced [share of range]',
    )
    if_displaced: Literal['keep', 'follow', 'refuse', 'teleport'] = Field(
        'keep',
        description='At a reset: keep the command, follow the joint within the limits, or refuse; '
        'teleport only in simulation',
    )
    realtime_priority: int = Field(0, ge=0, le=99, description='SCHED_FIFO priority, 0 for none')
    lock_memory: bool = Field(False, description='Keep all memory in RAM')


class PolicyParameters(NodeParameters, InferenceOptions):
    """Parameters of the policy node."""

    strategy: str = Field(
        'naive',
        description='Strategy of the requests that it answers to itself before it is active',
    )
    execution_horizon: int = Field(
        0, ge=0, description="Rows between two requests [steps], 0 for the robot's own"
    )
    threads: int = Field(1, ge=1, description='CPU threads of the inference')
    max_observation_age_s: float = Field(0.5, gt=0.0, description='Older streams are refused [s]')
    inference_deadline_s: float = Field(
        30.0,
        gt=0.0,
        le=3600.0,
        description='A longer inference ends the node, to start anew [s]',
    )


class DelayMonitorParameters(NodeParameters):
    """Parameters of the delay monitor node."""

    estimator: Literal[tuple(ESTIMATORS)] = Field(
        'maximum', description='How the estimate is formed'
    )
    window: int = Field(10, ge=1, description='Measurements that are remembered [samples]')
    quantile: float = Field(0.95, ge=0.0, le=1.0, description='For the estimator quantile')
    warmup: int = Field(1, ge=0, description='First chunks of a run that are left out [samples]')


class SimParameters(NodeParameters):
    """Parameters of the simulated robot."""

    seed: int = Field(0, ge=0, description='Seed of the first episode; each further one adds 1')
    episodes: int = Field(0, ge=0, description='Episodes to play, 0 for no end')
    pause_s: float = Field(0.5, ge=0.0, description='Rest between two episodes [s]')
    rate_hz: float = Field(
        100.0, gt=0.0, description='Simulation steps and joint_states per second [Hz]'
    )
    real_time_factor: float = Field(
        1.0,
        ge=0.0,
        description='Pace against the wall clock; other than 1 needs use_sim_time; 0 is free',
    )
    camera_hz: float = Field(
        0.0, ge=0.0, description='Pictures on front/image_raw per second, 0 for none [Hz]'
    )
    lock_step: bool = Field(
        True, description='With use_sim_time, wait for the command of every tick'
    )


class FollowParameters(NodeParameters):
    """Parameters of the robot without physics."""

    rate_hz: float = Field(
        100.0, gt=0.0, le=1000.0, description='Steps and joint_states per second [Hz]'
    )
    camera_hz: float = Field(
        0.0, ge=0.0, description='Black pictures of each camera per second, 0 for none [Hz]'
    )


class RecorderParameters(NodeParameters):
    """Parameters of the recorder node."""

    path: str = Field('', description='Folder to make; empty: only publish the snapshot')
    images: bool = Field(False, description='Record camera streams too')
    temporary: bool = Field(False, description='It is read and thrown away: do not tell of it')
    extra: str = Field('', description='More topics, names separated by spaces')


class ViewParameters(NodeParameters):
    """Parameters of the view node."""

    rate_hz: float = Field(10.0, gt=0.0, description='Markers and frames per second [Hz]')
    history_s: float = Field(
        2.0, gt=0.0, description='Length of the executed stream that is shown [s]'
    )


# Executable -> its parameters.
PARAMETERS: dict[str, type[NodeParameters]] = {
    'executor_node': ExecutorParameters,
    'policy_node': PolicyParameters,
    'delay_monitor_node': DelayMonitorParameters,
    'sim_node': SimParameters,
    'follow_node': FollowParameters,
    'recorder_node': RecorderParameters,
    'view_node': ViewParameters,
}
