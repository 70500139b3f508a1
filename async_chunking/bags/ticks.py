# SPDX-License-Identifier: Apache-2.0
"""The ticks of one run, joined in the order of their counter, with what is wrong about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from async_chunking.bags.columns import MessageGroup, column
from async_chunking.bags.exchanges import Rates
from async_chunking.metrics.record import Exchange, Run

Columns = Mapping[str, np.ndarray]

VECTORS = ('command', 'planned', 'measured')
_COUNTERS = {
    'late': 'late_chunks', 'rejected': 'rejected_chunks', 'starved_ticks': 'starved_ticks',
    'missed_ticks': 'missed_ticks', 'limited_ticks': 'limited_ticks',
}  # fmt: skip
# Without these a tick cannot be placed; what stands for each of the others where a recording of
# another version has it not. Vectors that are not there are unknown, NaN.
REQUIRED = (
    'tick', 'command', 'request_id', 'took_over', 'emitted_ns', 'deadline_ns', 'header.stamp.sec',
    'header.stamp.nanosec',
)  # fmt: skip
STEP_DEFAULTS = {
    'phase': 1, 'row': np.nan, 'delay': -1, 'missed': False,
    **dict.fromkeys(_COUNTERS.values(), 0),
}  # fmt: skip
_JUMP_S = 1.0  # A clock that gains or loses more than this between two ticks was set [s].
_DEFAULT_PERIOD = 0.02


class Ticks:
    """
    One run so far, of which only what the next piece needs is kept.

    Attributes:
        joint_names: Joint of each column [D].
        first: First recorded tick.
        last: Last recorded tick.
        lost: Ticks in between that are not recorded.
        repeated: Ticks that came twice, or out of order by more than a piece.
        odd: Ticks of another number of joints.
        size: Joints, D; 0 before the first tick.
        jumps: (tick, seconds) where the clock of the stamps was set.
        period: Time between two deadlines [s].
    """

    def __init__(self) -> None:
        self.joint_names: Sequence[str] = ()
        self.first = self.last = -1
        self.lost = self.repeated = self.odd = 0
        self.jumps: list[tuple[int, float]] = []
        self.size = 0
        self.period = _DEFAULT_PERIOD
        self._lead = 0.0
        self._before: dict[str, int] = {}
        self._counters: dict[str, int] = {}

    def take(self, parts: Sequence[tuple[MessageGroup, np.ndarray]]) -> Columns | None:
        """
        Return the next ticks in order; None if there is no new one.

        Args:
            parts: Decoded messages and which of each group belong to this run.

        Raises:
            BagError: The messages are of another version and lack a field.
        """
        there = [(g, i) for g, i in parts if 'command' in g.arrays]  # An empty one is not.
        if not self.size:  # As most of them have it: one odd message may come first.
            most, _ = max(there or parts, key=lambda part: len(part[1]))
            self.size = most['command'].shape[1]
            self.joint_names = most.texts['joint_names']
        same = [(g, i) for g, i in there if all(_width(g, v) == self.size for v in VECTORS)]
        count = sum(len(i) for _, i in same)
        self.odd += sum(len(i) for _, i in parts) - count
        if not count:
            return None
        columns = {
            name: np.concatenate([_column(g, name)[i] for g, i in same])
            for name in (*REQUIRED, *STEP_DEFAULTS, 'planned', 'measured')
        }
        order = np.argsort(columns['tick'], kind='stable')
        order = order[np.diff(columns['tick'][order], prepend=self.last) > 0]
        self.repeated += count - len(order)
        if not len(order):
            return None
        columns = {name: values[order] for name, values in columns.items()}
        self._advance(columns)
        return columns

    def _advance(self, columns: Columns) -> None:
        tick = columns['tick']
        lead = (
            columns['header.stamp.sec'] + columns['header.stamp.nanosec'] * 1e-9
            - columns['emitted_ns'] * 1e-9
        )  # fmt: skip
        counts = {name: columns[field] for name, field in _COUNTERS.items()}
        if self.first < 0:
            self.first, self.last, self._lead = int(tick[0]), int(tick[0]) - 1, float(lead[0])
            # A recording that began later does not count what was before.
            self._before = {n: int(c[0]) if self.first > 0 else 0 for n, c in counts.items()}
        self._counters = {n: int(c[-1]) - self._before[n] for n, c in counts.items()}
        self.lost += int((np.diff(tick, prepend=self.last) - 1).sum())
        steps = np.diff(lead, prepend=self._lead)
        jumped = np.flatnonzero(np.abs(steps) > _JUMP_S)
        self.jumps += [(int(tick[i]), float(steps[i])) for i in jumped]
        if len(tick) > 1:
            period = np.median(np.diff(columns['deadline_ns']) / np.diff(tick)) * 1e-9
            self.period = float(period) if period > 0.0 else self.period
        self.last, self._lead = int(tick[-1]), float(lead[-1])

    def run(
        self, columns: Columns, strategy: str, rates: Rates, exchanges: Mapping[int, Exchange]
    ) -> Run:
        """Return a piece as a run; without known rates the period is that of the deadlines."""
        period = 1.0 / rates.control if rates.control > 0.0 else self.period
        return Run(
            strategy=strategy,
            control_period=period,
            stride=1.0 / (period * rates.policy) if rates.policy > 0.0 else 1.0,
            tick=columns['tick'],
            phase=columns['phase'],
            command=columns['command'],
            planned=columns['planned'],
            measured=columns['measured'],
            request_id=columns['request_id'],
            took_over=columns['took_over'],
            delay=columns['delay'],
            missed=columns['missed'],
            emitted=columns['emitted_ns'] * 1e-9,
            deadline=columns['deadline_ns'] * 1e-9,
            exchanges=exchanges,
            counters=self._counters,
        )

    def problems(self) -> list[str]:
        """Return what is wrong, a sentence each."""
        sentences = [
            f'the clock was set by {seconds:+.1f} s at tick {tick}; the order is that of the ticks'
            for tick, seconds in self.jumps[:3]
        ]
        if len(self.jumps) > 3:
            sentences.append(f'the clock was set {len(self.jumps) - 3} more times')
        if self.lost:
            sentences.append(f'{self.lost} ticks between {self.first} and {self.last} are missing')
        if self.repeated:
            sentences.append(
                f'{self.repeated} ticks came twice or far out of order and are left out'
            )
        if self.odd:
            sentences.append(f'{self.odd} ticks have another number of joints and are left out')
        return sentences


def _column(group: MessageGroup, name: str) -> np.ndarray:
    if name in ('planned', 'measured') and name not in group.arrays:
        return np.full(group['command'].shape, np.nan)
    return column(group, name, STEP_DEFAULTS)


def _width(group: MessageGroup, name: str) -> int:
    return _column(group, name).shape[1]
