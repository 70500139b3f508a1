# SPDX-License-Identifier: Apache-2.0
"""A robot whose policy is behind a server that comes and goes."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('async_chunking.msg')
pytest.importorskip('websockets')
sys.path.insert(0, str(Path(__file__).parent.parent))  # Where the servers are.

from policy_servers import HORIZON, OpenpiPeer, stand_still

from async_chunking.bringup.describe import describe
from async_chunking.bringup.processes import Processes

REMEDY = 'run the policy node on the host of the model'


def test_a_robot_outlives_its_policy_server(node, spin_until, tmp_path):
    from diagnostic_msgs.msg import DiagnosticArray

    from async_chunking.executor import Phase
    from async_chunking.msg import ControlStep

    steps: list[ControlStep] = []
    status: dict[str, str] = {}

    def diagnosed(message: DiagnosticArray) -> None:
        for found in message.status:
            if found.name == 'policy':
                status.update({item.key: item.value for item in found.values})
                status['message'] = found.message

    node.create_subscription(ControlStep, 'control_step', steps.append, 1000)
    node.create_subscription(DiagnosticArray, '/diagnostics', diagnosed, 100)
    server = OpenpiPeer(stand_still(7, 'observation.state'))
    given = {'policy': 'remote', 'policy_url': server.url, 'log_level': 'error'}
    with pytest.raises(ValueError, match=REMEDY):
        describe('viperx', {**given, 'strategy': 'paint'})
    params = tmp_path / 'params.yaml'
    params.write_text('executor: {ros__parameters: {hold_timeout_s: 1000.0}}')
    described = describe('viperx', {**given, 'params_file': str(params)})
    parameters = {spec.name: spec.parameters for spec in described.nodes}
    assert (parameters['executor']['horizon'], parameters['executor']['offers']) == (HORIZON, '')
    released = threading.Event()
    with Processes(described.nodes, '', 'error') as processes:
        spin_until(lambda: steps and steps[-1].phase == Phase.EXECUTING, 'a chunk is executed')
        server.stop()
        spin_until(lambda: int(status.get('server unreachable', 0)) > 1, 'its loss is counted')
        spin_until(lambda: 'is the server running' in status['message'], 'its loss is named')
        server = OpenpiPeer(server.rule, server.port)
        now = len(server.seen)
        spin_until(lambda: len(server.seen) > now + 2, 'it is asked again')
        spin_until(lambda: int(status['server connections']) >= 2, 'its return is counted')
        spin_until(lambda: status['message'] == 'active', 'all is well')
        # A server that never answers does not keep the node from ending, and politely so.
        server.rule = lambda _: released.wait(120.0)
        now = len(server.seen)
        spin_until(lambda: len(server.seen) > now, 'a question without an answer')
        policy = processes._running['policy']
        processes.stop(['policy'])
        assert policy.returncode == 0  # Not killed.
        assert not released.is_set()
    released.set()
    server.stop()
