# SPDX-License-Identifier: Apache-2.0
"""The policy node: warm before it is active, and with as much of the past as a policy reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from async_chunking.bringup.describe import describe
from async_chunking.bringup.processes import Processes

ENTRY = """
import torch
from pathlib import Path

class Noting:
    horizon, action_dim, num_steps = 16, 7, 2

    def __init__(self, path):
        self.path = Path(path)

    def encode(self, observation):
        return torch.zeros(1, 1)

    def velocity(self, actions, flow_time, encoding):
        with self.path.open('a') as file:
            file.write(f'{len(actions)} {actions.requires_grad}\\n')
        return -actions
"""


def test_the_policy_is_warm_before_it_is_active(start, node, spin_until, tmp_path: Path) -> None:
    from lifecycle_msgs.msg import State, Transition
    from lifecycle_msgs.srv import ChangeState, GetState

    (tmp_path / 'entry.py').write_text(ENTRY)
    given = {
        'embodiment': 'viperx', 'policy': 'torch', 'policy_entry': f'{tmp_path}/entry.py:Noting',
        'policy_path': tmp_path / 'calls', 'strategy': 'rtc',
    }  # fmt: skip
    words = [word for key, value in given.items() for word in ('-p', f'{key}:={value}')]
    start('-m', 'async_chunking.nodes.policy_node', '--ros-args', *words)
    change = node.create_client(ChangeState, 'policy/change_state')
    ask = node.create_client(GetState, 'policy/get_state')
    spin_until(change.service_is_ready, 'the node answers')
    assert not (tmp_path / 'calls').exists()
    transition = Transition(id=Transition.TRANSITION_CONFIGURE)
    future = change.call_async(ChangeState.Request(transition=transition))
    spin_until(future.done, 'it is configured')
    assert future.result().success
    state = ask.call_async(GetState.Request())
    spin_until(state.done, 'it says its state')
    assert state.result().current_state.id == State.PRIMARY_STATE_INACTIVE
    assert '1 True' in (tmp_path / 'calls').read_text().splitlines()  # With gradients, as rtc.


LOOKING_BACK = """
import torch
from pathlib import Path

class Swinging:
    horizon, action_dim, observation_steps = 16, 7, 2
    expects = {'observation.state': (7,)}

    def __init__(self, path):
        self.path, self.count = Path(path), 0

    def chunk(self, observation, generator):
        seen = observation['observation.state']
        with self.path.open('a') as file:
            file.write(f'{tuple(seen.shape)} {float((seen[0, -1] - seen[0, 0]).abs().max())}\\n')
        self.count += 1
        chunk = seen.reshape(1, -1, 7)[:, -1:].repeat(1, 16, 1)
        chunk[..., 0] = 0.2 if self.count % 4 < 2 else 0.0  # The waist swings.
        return chunk
"""


def test_a_policy_gets_as_much_of_the_past_as_it_reads(node, spin_until, tmp_path: Path) -> None:
    (tmp_path / 'entry.py').write_text(LOOKING_BACK)
    seen = tmp_path / 'seen'
    given = {
        'policy': 'torch', 'policy_entry': f'{tmp_path}/entry.py:Swinging',
        'policy_path': str(seen), 'log_level': 'error',
    }  # fmt: skip

    def moves() -> list[float]:
        """Return how far the joints moved between the two, request by request."""
        lines = seen.read_text().splitlines() if seen.exists() else []
        live = [line for line in lines if line.startswith('(1, 2, 7)')]
        return [float(line.rsplit(' ', 1)[1]) for line in live]

    with Processes(describe('viperx', given).nodes, '', 'error'):
        spin_until(lambda: len([m for m in moves() if m > 1e-4]) > 3, 'it sees itself move', 90.0)
    # One policy step lies between them: 20 ms at no more than 3.14 rad/s, and what a late
    # message adds.
    assert max(moves()) < 0.3


HANGING = """
import time
import torch
from pathlib import Path

class Hanging:
    horizon, action_dim = 16, 7
    expects = {'observation.state': (7,)}

    def __init__(self, path):
        self.hung, self.calls = Path(path), 0

    def chunk(self, observation, generator):
        self.calls += 1
        if self.calls > 10 and not self.hung.exists():
            self.hung.touch()
            time.sleep(600.0)
        return observation['observation.state'].reshape(1, 1, 7).repeat(1, 16, 1)
"""


def test_an_inference_that_hangs_is_named_and_the_policy_starts_again(
    node, spin_until, tmp_path: Path
) -> None:
    from diagnostic_msgs.msg import DiagnosticArray

    from async_chunking.msg import ActionChunk

    (tmp_path / 'entry.py').write_text(HANGING)
    said: list[str] = []
    chunks: list[float] = []
    node.create_subscription(
        DiagnosticArray, '/diagnostics', lambda m: said.extend(s.message for s in m.status), 10
    )
    given = {
        'policy': 'torch', 'policy_entry': f'{tmp_path}/entry.py:Hanging',
        'policy_path': str(tmp_path / 'hung'), 'strategy': 'naive', 'log_level': 'error',
    }  # fmt: skip
    changes = {'policy': {'inference_deadline_s': 1.0}, 'executor': {'hold_timeout_s': 600.0}}
    specs = [
        replace(spec, parameters=spec.parameters | changes.get(spec.name, {}))
        for spec in describe('viperx', given).nodes
    ]
    with Processes(specs, '', 'error') as nodes:
        node.create_subscription(ActionChunk, 'action_chunk', lambda _: chunks.append(1.0), 10)

        def again() -> bool:
            assert nodes.look_after() == ''
            return nodes.restarts['policy'] == 1

        spin_until(again, 'the policy is started again', 120.0)
        assert 'an inference took longer than 1 s; the process ends' in said
        answered = len(chunks)
        spin_until(lambda: len(chunks) > answered, 'the policy answers again', 120.0)
        assert nodes.look_after() == ''
