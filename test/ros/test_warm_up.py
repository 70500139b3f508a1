# SPDX-License-Identifier: Apache-2.0
"""A policy node that is configured has answered to itself already, with the strategy in use."""

from __future__ import annotations

from pathlib import Path

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
