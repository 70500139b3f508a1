# SPDX-License-Identifier: Apache-2.0
"""What RViz and Foxglove show: the robot, and the seam where one plan gives way to the next."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, TransformStamped
from rclpy.qos import QoSProfile
from std_msgs.msg import ColorRGBA, String
from visualization_msgs.msg import Marker, MarkerArray

from async_chunking.bringup.parameters import ViewParameters
from async_chunking.errors import AsyncChunkingError
from async_chunking.msg import ActionChunk, ChunkRequest, ControlStep
from async_chunking.nodes.base import RobotNode
from async_chunking.nodes.bounded import listen
from async_chunking.nodes.messages import message_class
from async_chunking.nodes.process import run
from async_chunking.nodes.qos import LATCHED
from async_chunking.sim import make_task
from async_chunking.sim.urdf import WORLD, frames, tips, urdf

_WIDTH = 0.004  # Of a line [m].
_DOT = 0.015  # Where a new chunk took over [m].
_COLORS = {
    'executed': (0.10, 0.12, 0.15),
    'old plan': (0.91, 0.63, 0.23),
    'new chunk': (0.16, 0.62, 0.56),
    'takeover': (0.82, 0.29, 0.36),
}


class ViewNode(RobotNode):
    """Places the robot's model where commands and chunks would have it, and publishes that.

    `robot_description` and /tf (where tf2_msgs is installed) follow the measured joints; `seam`
    holds, for each hand: what was executed, the old plan as the last request told it, the chunk
    that answered it, and where chunks took over.
    """

    Parameters = ViewParameters

    def __init__(self) -> None:
        super().__init__('view')

    def check(self, parameters: ViewParameters) -> None:
        """Refuse a robot that has no model."""
        del parameters  # Unused.
        if self.embodiment.simulation is None:
            msg = f'robot {self.embodiment.name} has no model to show; start it with view:=false'
            raise AsyncChunkingError(msg)

    def configure(self) -> None:
        """Load the model and subscribe."""
        robot = self.embodiment
        assert robot.simulation is not None  # `check` saw to it.
        self._plant = make_task(robot.simulation.task).plant
        self._prefix = f'{space}/' if (space := self.get_namespace().strip('/')) else ''
        self._tips = tips(self._plant)
        ticks = round(self.parameters.history_s * robot.control_rate_hz)
        self._executed: deque[tuple[bool, np.ndarray]] = deque(maxlen=ticks)
        self._plans: dict[str, np.ndarray] = {}
        self._measured: ControlStep | None = None
        self._text = self.create_publisher(String, 'robot_description', LATCHED)
        self._text.publish(String(data=urdf(self._plant, robot.name)))
        self._markers = self.create_publisher(MarkerArray, 'seam', QoSProfile(depth=1))
        self._tf = self._tf_publisher()
        listen(self, ControlStep, 'control_step', self._on_step, QoSProfile(depth=100))
        self._asked = ChunkRequest()
        listen(self, ChunkRequest, 'chunk_request', self._on_request, QoSProfile(depth=2))
        listen(self, ActionChunk, 'action_chunk', self._on_chunk, QoSProfile(depth=2))
        self.create_timer(1.0 / self.parameters.rate_hz, self._show)

    def _tf_publisher(self) -> Any:
        try:
            self._tf_type = message_class('tf2_msgs/msg/TFMessage')
        except AsyncChunkingError as error:
            self.get_logger().warning(f'no /tf: {error}')
            return None
        return self.create_publisher(self._tf_type, '/tf', QoSProfile(depth=100))

    # --- what arrives ---------------------------------------------------------------------------

    def _on_step(self, step: ControlStep) -> None:
        if self._executed and step.tick == 0:
            self._executed.clear()
            self._plans.clear()
        self._executed.append((step.took_over, self._hands(step.command)))
        self._measured = step

    def _on_request(self, request: ChunkRequest) -> None:
        self._asked = request

    def _on_chunk(self, chunk: ActionChunk) -> None:
        """Show a chunk beside the plan that it continues: that of the request it answers."""
        asked = self._asked
        if (chunk.run_id, chunk.request_id) == (asked.run_id, asked.request_id):
            self._on_plan('old plan', asked.previous, asked.columns)
            self._on_plan('new chunk', chunk.actions, chunk.columns)

    def _on_plan(self, name: str, values: Any, columns: int) -> None:
        joints = len(self.embodiment.joints)
        if columns == joints:
            rows = np.asarray(values, dtype=np.float64).reshape(-1, joints)
            self._plans[name] = np.array([self._hands(row) for row in rows])

    def _hands(self, positions: Any) -> np.ndarray:
        """Return where the hands are [tips, 3] [m] with the joints at some positions [D]."""
        values = np.asarray(positions, dtype=np.float64)
        if values.shape != (len(self.embodiment.joints),) or not np.isfinite(values).all():
            return np.full((len(self._tips), 3), np.nan)
        self._plant.reset(values)
        return np.array([self._plant.site(name) for name in self._tips])

    # --- what is shown --------------------------------------------------------------------------

    def _show(self) -> None:
        stamp = self.get_clock().now().to_msg()
        places = np.array([place for _, place in self._executed]).reshape(-1, len(self._tips), 3)
        taken = np.array([took_over for took_over, _ in self._executed], dtype=bool)
        lines = {'executed': places, **self._plans, 'takeover': places[taken]}
        markers = [
            self._marker(name, number, points[:, number], stamp)
            for name, points in lines.items()
            for number in range(len(self._tips))
            if len(points)
        ]
        self._markers.publish(MarkerArray(markers=markers))
        if self._tf is not None and self._measured is not None:
            self._show_frames(stamp, self._measured)

    def _marker(self, name: str, number: int, points: np.ndarray, stamp: Any) -> Marker:
        dots = name == 'takeover'
        marker = Marker(
            ns=f'{name} {self._tips[number]}', id=number,
            type=Marker.SPHERE_LIST if dots else Marker.LINE_STRIP,
        )  # fmt: skip
        marker.header.frame_id, marker.header.stamp = f'{self._prefix}{WORLD}', stamp
        marker.pose.orientation.w = 1.0
        marker.scale.x = marker.scale.y = marker.scale.z = _DOT if dots else _WIDTH
        red, green, blue = _COLORS[name]
        marker.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
        finite = points[np.isfinite(points).all(axis=1)]
        marker.points = [Point(x=x, y=y, z=z) for x, y, z in finite.tolist()]
        return marker

    def _show_frames(self, stamp: Any, step: ControlStep) -> None:
        if not np.isfinite(self._hands(step.measured)).all():
            return
        transforms = []
        for parent, child, position, turn in frames(self._plant):
            frame = TransformStamped(child_frame_id=self._prefix + child)
            frame.header.frame_id, frame.header.stamp = self._prefix + parent, stamp
            place, rotation = frame.transform.translation, frame.transform.rotation
            place.x, place.y, place.z = position.tolist()
            rotation.x, rotation.y, rotation.z, rotation.w = turn.tolist()
            transforms.append(frame)
        self._tf.publish(self._tf_type(transforms=transforms))


def main() -> int:
    """Run the node."""
    return run(ViewNode)


if __name__ == '__main__':
    raise SystemExit(main())
