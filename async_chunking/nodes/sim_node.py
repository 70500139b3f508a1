# SPDX-License-Identifier: Apache-2.0
"""The simulated robot: takes the commands that a real one would, and publishes what it would."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from std_srvs.srv import Trigger

from async_chunking.bringup.parameters import SimParameters
from async_chunking.errors import AsyncChunkingError
from async_chunking.nodes import diagnostics
from async_chunking.nodes.base import RobotNode
from async_chunking.nodes.camera import Camera
from async_chunking.nodes.pacing import SteadyPace
from async_chunking.nodes.process import run
from async_chunking.nodes.simulated_robot import SimulatedRobot, SimulatedScene
from async_chunking.sim import make_task
from async_chunking.sim.episode_loop import EpisodeLoop, EpisodePhase, EpisodeResult
from async_chunking.sim.task import Task

_ENVIRONMENT = 'observation.environment_state'
_LOCK_STEP_PATIENCE_S = 0.5  # A missing command holds the simulation up this long at most [s].
_REFUSALS = 5  # Joints that still come to rest cost one or two.
_EPISODES = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class SimNode(RobotNode):
    """Runs the task of the robot's description in a thread of its own.

    On the wall clock the simulation steps faster than commands come, and each step takes the
    newest one, as a driver does. With use_sim_time it publishes /clock, steps once a tick, and
    (lock_step) waits for that tick's command; `real_time_factor` sets the pace.
    """

    Parameters = SimParameters

    def __init__(self) -> None:
        super().__init__('sim')
        self._thread: threading.Thread | None = None
        self._camera: Camera | None = None
        self._active = False
        self._played = False  # Before, in this process.
        self._refusals = 0  # Of a new run, one after the other.

    # --- lifecycle ------------------------------------------------------------------------------

    def check(self, parameters: SimParameters) -> None:
        """Refuse a robot without simulation, and a pace that only simulated time can have."""
        if self.embodiment.simulation is None:
            msg = f'robot {self.embodiment.name} has no simulation; start it with sim:=false'
            raise AsyncChunkingError(msg)
        if parameters.real_time_factor != 1.0 and not self.get_parameter('use_sim_time').value:
            msg = 'real_time_factor other than 1 needs use_sim_time:=true'
            raise AsyncChunkingError(msg)

    def configure(self) -> None:
        """Load the task and create the robot's topics."""
        robot, parameters = self.embodiment, self.parameters
        assert robot.simulation is not None  # `check` saw to it.
        self._simulated = bool(self.get_parameter('use_sim_time').value)
        rate = robot.control_rate_hz if self._simulated else parameters.rate_hz
        self._period_ns = round(1e9 / rate)
        self._task = task_at(robot.simulation.task, rate)
        self._episode_loop = EpisodeLoop(
            self._task, parameters.seed, parameters.episodes, parameters.pause_s
        )
        self._arrived = threading.Event()
        self._robot = SimulatedRobot(self, robot, self._task.plant, self._on_command)
        self._scene = SimulatedScene(self, self._task.environment_names, self._simulated)
        self._episodes = self.create_publisher(String, 'episode', _EPISODES)
        self._reset = self.create_client(Trigger, 'executor/reset')
        self._stop = self.create_client(Trigger, 'executor/stop')
        self._diagnostics = diagnostics.Diagnostics(self, robot.name)
        self._counts = {'episodes': 0, 'successes': 0}
        self.create_timer(1.0, self._diagnose)

    def activate(self) -> None:
        """Begin to simulate; the first command begins the first episode."""
        if self._played:
            self._episode_loop.restart()
        self._active = self._played = True
        self._thread = threading.Thread(target=self._guarded, name='simulation', daemon=True)
        self._thread.start()
        if self.parameters.camera_hz:
            self._camera = Camera(self, self._task, self.parameters.camera_hz)

    def deactivate(self) -> None:
        """Stop."""
        self._active = False
        if self._camera is not None:
            self._camera.stop()
            self._camera = None
        assert self._thread is not None  # It was active.
        self._thread.join(timeout=5.0)

    def _on_command(self, command: np.ndarray) -> None:
        self._episode_loop.command(command)
        self._arrived.set()

    # --- simulation thread ----------------------------------------------------------------------

    def _guarded(self) -> None:
        try:
            self._simulate()
        except Exception as error:
            self.get_logger().fatal(f'the simulation ended: {error!r}')
            self.failure = repr(error)

    def _simulate(self) -> None:
        factor = self.parameters.real_time_factor
        pace = SteadyPace(round(self._period_ns / factor)) if factor else None
        now_ns = 0
        if pace:
            pace.restart()
        while self._active:
            if pace:
                due = pace.wait(0.1)
                if due is None:
                    continue
                # A clock that is simulated just comes late, the wall clock does not wait.
                passed = 1 if self._simulated else 1 + due.missed
            else:
                passed = 1
            for _ in range(passed):
                now_ns += self._period_ns
                self._step()
                if self._episode_loop.phase is EpisodePhase.STANDING:
                    break  # Where the robot was put must be seen before a run begins there.
            # A command is waited for only if the tick before had one.
            waits = self._simulated and self.parameters.lock_step and self._arrived.is_set()
            self._arrived.clear()
            self._robot.show(now_ns if self._simulated else None)
            self._scene.show(self._episode_loop.observation[_ENVIRONMENT], now_ns)
            if waits:
                self._arrived.wait(_LOCK_STEP_PATIENCE_S)

    def _step(self) -> None:
        result = self._episode_loop.step()
        if result is not None:
            self._tell(result)
            self._stop.call_async(Trigger.Request())  # What follows is no part of the run.
        if self._episode_loop.phase is EpisodePhase.RESETTING:
            self._ask_for_reset()

    def _ask_for_reset(self) -> None:
        self._episode_loop.reset_requested()
        self._reset.call_async(Trigger.Request()).add_done_callback(self._on_reset)

    def _on_reset(self, future: Any) -> None:
        response = future.result()
        self._episode_loop.reset_answered(response.success)
        self._refusals = 0 if response.success else self._refusals + 1
        if self._refusals >= _REFUSALS:
            sentence = f'no new run: {response.message}'
            self.get_logger().warning(sentence, throttle_duration_sec=5.0)

    def _tell(self, result: EpisodeResult) -> None:
        self._counts['episodes'] += 1
        self._counts['successes'] += result.success
        content = {
            'episode': result.episode,
            'seed': result.seed,
            'success': result.success,
            'duration_s': round(result.duration_s, 3),
            'failure': result.failure,
        }
        self._episodes.publish(String(data=json.dumps(content)))
        ended = 'solved' if result.success else result.failure
        self.get_logger().info(
            f'episode {result.episode}: {ended} after {result.duration_s:.2f} s'
        )

    def _diagnose(self) -> None:
        values = {**self._counts, 'bad_commands': self._robot.bad_commands}
        self._diagnostics.publish(diagnostics.OK, self._episode_loop.phase.value, values)


def task_at(name: str, rate_hz: float) -> Task:
    """Return a task that is stepped at another rate than its own."""
    task_class = type(make_task(name))
    return type(task_class.__name__, (task_class,), {'control_rate_hz': rate_hz})()


def main() -> int:
    """Run the node."""
    return run(SimNode)


if __name__ == '__main__':
    raise SystemExit(main())
