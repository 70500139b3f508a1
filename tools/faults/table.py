# SPDX-License-Identifier: Apache-2.0
"""The faults there are: one function each, and what must become of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tools.faults import attacks, chunks, nodes, offline, sensors
from tools.faults.done import Done
from tools.faults.scene import FaultScene


@dataclass(frozen=True)
class Fault:
    """
    Something that goes wrong.

    Attributes:
        inject: Does it for some seconds; its docstring says what.
        names: Counters of which each must have risen in /diagnostics.
        at_least: Share of what was done that all counters must account for.
        alone: It needs a robot of its own, and leaves it unusable.
        cut: The recording may end with it.
        clock: It needs a clock that can be set.
        longer: It lasts as many times as long as the others.
        kind: Kind of the scene; see `FaultScene`.
        paused: Ticks are missed by it, and deadlines may begin on another grid.
        ends: The robot ends with it.
        mute: The middleware sends nothing for a while, so that ticks are unseen.
    """

    inject: Callable[[FaultScene, float], Done]
    names: tuple[str, ...] = ()
    at_least: float = 0.9
    alone: bool = False
    cut: bool = False
    clock: bool = False
    longer: float = 1.0
    kind: str = ''
    paused: bool = False
    ends: bool = False
    mute: bool = False

    @property
    def what(self) -> str:
        """What it does, as one sentence."""
        return (self.inject.__doc__ or '').split('\n\n')[0].strip()


FAULTS: dict[str, Fault] = {
    'nothing': Fault(nodes.nothing),
    'policy killed': Fault(nodes.policy_killed, longer=3.0),
    'policy frozen': Fault(nodes.policy_frozen),
    'delay spikes': Fault(nodes.spikes),
    'noisy delays': Fault(nodes.noise),
    'wrong delay estimates': Fault(nodes.wrong_estimates),
    'chunks not finite': Fault(chunks.not_finite, ('not_finite',)),
    'chunks of wrong size': Fault(chunks.wrong_size, ('wrong_size',)),
    'chunks for the past': Fault(chunks.past, ('unrequested',)),
    'chunks for the future': Fault(chunks.future, ('future',)),
    'chunks twice': Fault(chunks.twice, ('duplicate',)),
    'chunks reordered': Fault(chunks.reordered, ('out_of_order',)),
    'chunks of a previous run': Fault(chunks.previous_run, ('wrong_run',)),
    'chunks over the limits': Fault(chunks.over_limits, ('over_limits',)),
    'wild chunks within the limits': Fault(chunks.wild),
    'second publisher': Fault(chunks.second_publisher, ('duplicate',), at_least=0.5),
    'joint_states stop': Fault(sensors.stop),
    'joint_states freeze': Fault(sensors.freeze),
    'joint_states reordered': Fault(sensors.reorder),
    'joint_states jump': Fault(sensors.jump),
    'joint_states broken': Fault(sensors.broken, ('joint_states_faults',)),
    'delay monitor dead': Fault(nodes.monitor_dead),
    'parameters changed': Fault(nodes.parameters_changed),
    'mutated chunks on the wire': Fault(chunks.flood, ('unreadable',)),
    'mutated messages': Fault(nodes.mutated),
    'huge numbers': Fault(attacks.huge_numbers),
    'huge messages': Fault(attacks.huge_messages, ('unreadable',), at_least=0.5),
    'second executor': Fault(attacks.second_executor),
    'sender paused': Fault(attacks.paused, paused=True),
    'use_sim_time set': Fault(attacks.clock_taken),
    'bad streams, judged': Fault(offline.bad_streams),
    'plans that use the jerk': Fault(offline.jerk_used),
    'false poses': Fault(attacks.false_poses, kind='kept'),
    'reset in contact': Fault(attacks.contact, kind='kept'),
    '/clock jumps': Fault(attacks.clock_jumps, kind='clock', paused=True),
    'simulator reset': Fault(attacks.simulator_reset, kind='clock', paused=True, alone=True),
    'terminal closed': Fault(attacks.terminal_closed, alone=True, ends=True),
    'disk full': Fault(nodes.disk_full, alone=True, cut=True),
    'clock set by an hour': Fault(nodes.clock_set, alone=True, clock=True, paused=True, mute=True),
}
