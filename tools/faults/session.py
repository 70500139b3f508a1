# SPDX-License-Identifier: Apache-2.0
"""Plays faults, one after the other, on robots that are started for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from async_chunking.bags.columns import decode
from async_chunking.bags.definitions import parse
from async_chunking.bags.files import find
from async_chunking.bags.reading import STEP
from async_chunking.executor import Outcome
from tools.faults.scene import PATIENCE_S, FaultError, FaultScene
from tools.faults.table import FAULTS, Fault
from tools.faults.verdict import FaultWindow, Tick, Verdict, judge, on_the_wire
from tools.faults.wall_clock import WallClock, compiler

_CALM_S = 1.0  # Before a fault [s].
_COUNTED = (
    *(outcome.name.lower() for outcome in Outcome if outcome is not Outcome.ACCEPTED),
    'unreadable', 'joint_states_faults', 'starved_ticks',
)  # fmt: skip


def play(
    names: Sequence[str], seconds: float, priority: int, tell: Callable[[str], None]
) -> Iterator[Verdict]:
    """
    Play faults and yield what became of the stream, when the robot that they share has ended.

    A robot that does not go on after a fault is replaced.

    Args:
        names: Keys of `FAULTS`.
        seconds: For each.
        priority: SCHED_FIFO priority of the command thread, 0 for none.
        tell: Is told what happens.

    Raises:
        FaultError: A robot did not start, or an essential node ended.
    """
    left = list(names)
    while left:
        fault = FAULTS[left[0]]
        if fault.clock and not compiler():
            tell(f'{left.pop(0)}: left out, it needs a C compiler (apt install gcc)')
            continue
        with TemporaryDirectory() as folder, ExitStack() as stack:
            clock = WallClock(Path(folder)) if fault.clock else None
            scene = stack.enter_context(
                FaultScene(priority=priority, clock=clock, kind=fault.kind)
            )
            windows: list[FaultWindow] = []
            while left:
                kind, fault = fault.kind, FAULTS[left[0]]
                if windows and (fault.alone or fault.kind != kind):
                    break
                tell(left[0])
                windows.append(one(scene, left.pop(0), fault, seconds))
                if fault.alone or windows[-1].stop == windows[-1].end:
                    break
            scene.stop()
            yield from _judged(scene, windows)


def one(scene: FaultScene, name: str, fault: Fault, seconds: float) -> FaultWindow:
    """Let one fault happen, and wait until the stream goes on."""
    log = scene.link.log
    scene.until(scene.executing, PATIENCE_S)
    scene.run(_CALM_S)
    if not _diagnosed(scene):
        raise FaultError('the executor publishes no /diagnostics')
    before, executor = _counters(scene), scene.processes.pid('executor')
    window = FaultWindow(name, start=len(log.steps))
    window.done = fault.inject(scene, seconds * fault.longer)
    window.end, window.arrived = len(log.steps), len(log.arrivals)
    if fault.ends:
        window.end = window.stop = len(log.steps)
        return window
    request = scene.link.request
    window.asked = (request.run_id, request.request_id) if request is not None else (0, 0)
    gone_on = scene.until(
        lambda: log.takeovers and log.takeovers[-1].step >= window.end and scene.executing(),
        PATIENCE_S,
    )
    window.done.checks['/diagnostics go on'] = _diagnosed(scene)
    window.stop = len(log.steps) if gone_on else window.end
    after = _counters(scene)
    window.counted = {n: after[n] - before[n] for n in after if after[n] > before[n]}
    window.executor = executor == scene.processes.pid('executor') != 0
    return window


def _diagnosed(scene: FaultScene) -> bool:
    """Wait for a word of the executor about everything that happened until now."""
    sentences = scene.link.log.sentences.setdefault('executor', [])
    count = len(sentences)
    return scene.until(lambda: len(sentences) >= count + 2, PATIENCE_S)


def _counters(scene: FaultScene) -> Mapping[str, int]:
    return {name: scene.link.log.count(name) for name in _COUNTED}


def _judged(scene: FaultScene, windows: Sequence[FaultWindow]) -> Iterator[Verdict]:
    log = scene.link.log
    wire, recorded = on_the_wire(log), recorded_ticks(scene.bag)
    period_ns = round(1e9 / scene.robot.control_rate_hz)
    for window in windows:
        fault = FAULTS[window.name]
        yield judge(fault, window, log, wire, recorded, scene.robot.limits, period_ns)


def recorded_ticks(path: Path) -> set[Tick]:
    """Return every tick in a recording."""
    (bag,) = find([path])
    messages: dict = {}
    for message in bag.messages(lambda topic: topic.type == STEP):
        messages.setdefault(message.topic, []).append(message.data)
    ticks: set[Tick] = set()
    for topic, raw in messages.items():
        for group in decode(raw, parse(topic.definition, topic.type, topic.form), topic.type):
            ticks |= set(zip(group['run_id'].tolist(), group['tick'].tolist(), strict=True))
    return ticks
