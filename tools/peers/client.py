# SPDX-License-Identifier: Apache-2.0
"""
LeRobot's asynchronous inference: its `RobotClient` and `PolicyServer`, joined without a network.

The methods that the client's two threads and the server's handlers run are run here in the order
of simulated time: what came, one action, one observation if the queue is short. The server filters
observations as it does on a robot with joints in degrees, and works on the newest that it has; its
inference alone is ours, so that policy, delays and noise are those of everyone.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import tempfile
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from async_chunking.bench.rollout import Observation
from async_chunking.executor import ExecutorConfig
from tools.peers.loop import ChunkWanted


@contextlib.contextmanager
def _quiet() -> Any:
    """Import LeRobot's client elsewhere, and without its handlers of the root logger."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield
    for handler in [h for h in root.handlers if h not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(max(level, logging.WARNING))


with _quiet():  # It writes a folder of logs where it is imported.
    from lerobot.async_inference.configs import PolicyServerConfig, RobotClientConfig
    from lerobot.async_inference.policy_server import PolicyServer
    from lerobot.async_inference.robot_client import RobotClient
    from lerobot.transport import services_pb2

    from tools.peers.standin import StandIn, StandInConfig

_CALLER = SimpleNamespace(peer=lambda: 'bench')


class Loopback:
    """
    The client's side of the network: observations go to the server, an answer comes once.

    Args:
        server: Filters and keeps what it is sent.
        received: Is set when there is nothing more, which ends the client's loop.
    """

    def __init__(self, server: PolicyServer, received: threading.Event) -> None:
        self._server, self._received = server, received
        self.answer = b''

    def SendObservations(self, parts: Any) -> Any:
        """Hand an observation over."""
        return self._server.SendObservations(parts, _CALLER)

    def GetActions(self, request: Any) -> Any:
        """Return the answer that is there."""
        self._received.set()
        return services_pb2.Actions(data=self.answer)


class Aggregating:
    """
    Client and server of one robot; is a `Peer`.

    The client sends an observation when at most H - s of H actions are left.

    Args:
        config: Horizon, execution horizon, rate and joints.
        rule: Name in LeRobot's table of aggregation functions.
    """

    def __init__(self, config: ExecutorConfig, rule: str) -> None:
        share = 1.0 - config.execution_horizon / config.horizon
        settings = RobotClientConfig(
            policy_type='act',
            pretrained_name_or_path='bench',
            robot=StandInConfig(id='bench', joints=config.action_dim),
            actions_per_chunk=config.horizon,
            chunk_size_threshold=share,
            fps=round(config.control_rate_hz),
            aggregate_fn_name=rule,
        )
        self._client = client = RobotClient(settings)
        client.channel.close()
        client.start_barrier = threading.Barrier(1)
        self._server = PolicyServer(PolicyServerConfig(fps=round(config.control_rate_hz)))
        self._server.lerobot_features = client.policy_config.lerobot_features
        self._wire = client.stub = Loopback(self._server, client.shutdown_event)
        self._robot: StandIn = client.robot
        self._nothing = np.empty((0, config.action_dim))
        self._kept: tuple[Any, ChunkWanted | None] = (
            None,
            None,
        )  # What the server has, and where from.
        self._computing: Any = None

    def receive(self, rows: np.ndarray, delay: int) -> None:
        """Let the client's receiver take a chunk, numbered as the server numbers it."""
        del delay  # The client knows none.
        actions = list(torch.as_tensor(rows, dtype=torch.float32))
        self._wire.answer = pickle.dumps(
            self._server._time_action_chunk(0.0, actions, self._computing.get_timestep())
        )
        self._client.receive_actions()
        self._client.shutdown_event.clear()

    def look(self, tick: int, observation: Observation, idle: bool) -> ChunkWanted | None:
        """Do what the client's control loop does in a tick; ask what the server would work on."""
        state = observation['observation.state']
        self._robot.state = np.degrees(np.resize(state, len(self._robot.state)))
        waiting = self._take() if idle else None  # What was kept while the server was busy.
        if self._client.actions_available():
            self._client.control_loop_action()
        if self._client._ready_to_send_observation():
            self._client.control_loop_observation('')
            waiting_there = list(self._server.observation_queue.queue)
            if waiting_there and waiting_there[0] is not self._kept[0]:  # It was not filtered out.
                self._kept = waiting_there[0], ChunkWanted(observation, tick, self._planned())
            if idle and waiting is None:
                waiting = self._take()
        return waiting

    def _take(self) -> ChunkWanted | None:
        """Return what the server works on next, as its `GetActions` takes it; None for nothing."""
        if self._server.observation_queue.empty():
            return None
        self._computing = self._server.observation_queue.get_nowait()
        self._server._predicted_timesteps.add(self._computing.get_timestep())
        self._server.last_processed_obs = self._computing
        return self._kept[1]

    def _planned(self) -> np.ndarray:
        """Return this tick's action and those of the queue [R, D]."""
        rows = [action.get_action().numpy() for action in self._client.action_queue.queue]
        now = [] if self._robot.sent is None else [self._robot.sent]
        return np.array([*now, *rows], dtype=np.float64) if now or rows else self._nothing

    def command(self) -> np.ndarray | None:
        """Return what the robot was sent at this tick; the first action as soon as it is there."""
        if self._client.latest_action < 0 and self._client.actions_available():
            self._client.control_loop_action()
        sent, self._robot.sent = self._robot.sent, None
        return sent
