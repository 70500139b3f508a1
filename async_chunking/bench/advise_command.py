# SPDX-License-Identifier: Apache-2.0
"""`async-chunking advise`: a recommendation from stored rows or recordings, with its reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from async_chunking.bench.advice import (
    Advice,
    AdviceError,
    Candidate,
    advise,
    candidates,
    measured_delays,
)
from async_chunking.bench.rows import Row, read
from async_chunking.bench.tables import number, rate
from async_chunking.delay import to_steps
from async_chunking.environments.description import is_described, read_description
from async_chunking.sim import TASKS, make_task
from async_chunking.tables import Table, show

STORED = Path('docs/results')
MOST = 10  # Candidates in the table.


class Asked(NamedTuple):
    """
    A latency in the steps of a policy.

    Attributes:
        latency_s: [s].
        rate_hz: Rows of a chunk per second.
    """

    latency_s: float
    rate_hz: float

    @property
    def delay(self) -> int:
        """Steps that pass."""
        return to_steps(self.latency_s, self.rate_hz)

    @property
    def words(self) -> str:
        """What it is, for people."""
        latency = f'{1e3 * self.latency_s:.0f} ms'
        return f'{latency} at {self.rate_hz:g} rows a second are {self.delay} steps'


def advise_command(
    latency_ms: Annotated[
        float | None, typer.Option(min=0.0, help='From request to chunk [ms].')
    ] = None,
    bench: Annotated[
        Path | None,
        typer.Option(help='Rows of `bench delay`, a file or folder.', show_default=str(STORED)),
    ] = None,
    bag: Annotated[
        Path | None, typer.Option(help='Recordings of the robot: a file or folder.')
    ] = None,
    task: Annotated[str, typer.Option(help='Task of the rows, where there are several.')] = '',
    rate_hz: Annotated[
        float | None,
        typer.Option(min=0.0, help="Rows of a chunk per second; the task's, where it is known."),
    ] = None,
) -> None:
    """Recommend strategy, execution horizon and training for a latency, or say that data cannot.

    Rows of the task and the policy that you use are what counts: `bench delay --env … --policy …`
    makes them. Recordings tell the latency that there really was, and how often each strategy
    succeeded on the robot.
    """
    console = Console()
    if bag is not None:
        from async_chunking.bench.recorded_advice import show_recordings

        measured = show_recordings(bag, console)
        if latency_ms is None:
            latency_ms = measured
        if bench is None:
            return
    if latency_ms is None:
        raise AdviceError('give --latency-ms, or --bag with recordings that tell it')
    place = bench or STORED
    if not place.exists():
        raise AdviceError(f'no rows at {place}: name some with --bench, or run bench delay first')
    rows = read(place)
    name = _task(rows, task)
    asked = Asked(latency_ms / 1e3, rate_hz or _rate(name))
    say(console, rows, name, asked)


def _task(rows: list[Row], task: str) -> str:
    names = sorted({row['task'] for row in rows})
    if not task and len(names) == 1:
        return names[0]
    if task not in names:
        raise AdviceError(f"--task is '{task}'; the rows are of {', '.join(names)}")
    return task


def _rate(task: str) -> float:
    if task in TASKS:
        return make_task(task).policy_rate_hz
    if is_described(task):
        description = read_description(task)
        return description.policy_rate_hz or description.control_rate_hz
    raise AdviceError(f"how many rows a second the policy of '{task}' has is not known: --rate-hz")


def say(console: Console, rows: list[Row], task: str, asked: Asked) -> None:
    """Print the advice for one task."""

    def put(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    horizon = max(row['horizon'] for row in rows if row['task'] == task)
    put(f'{asked.words}. {task}: chunks of {horizon} rows.')
    known = measured_delays(rows, task)
    above = [delay for delay in known if delay >= asked.delay]
    if 2 * asked.delay > horizon:
        longest = 1e3 * (horizon // 2) / asked.rate_hz
        put(
            'No execution horizon is feasible: delay <= s <= horizon - delay holds up to '
            f'{horizon // 2} steps, {longest:.0f} ms. Train with chunks of {2 * asked.delay} rows '
            'or more, make the policy quicker, or rest: strategy:=sync.'
        )
    if not above:
        put(
            f'The data cannot tell: its delays are {", ".join(map(str, known)) or "none"}. Play '
            f'`async-chunking bench delay --env {task} --delays {asked.delay}` first.'
        )
        return
    if above[0] != asked.delay:
        put(f'There are no rows at {asked.delay} steps; the next above is {above[0]}, used below.')
    advice = advise(candidates(rows, task, above[0]))
    show(_table(advice, task, above[0]), console=console)
    for line in sentences(advice, task):
        put(line)


def sentences(advice: Advice, task: str) -> list[str]:
    """Return the advice in words."""
    if advice.undecided:
        return [_cannot_tell(advice)]
    chosen, good = advice.chosen, len(advice.good)
    lines = [f'Use {chosen.name}: {_result(chosen)}.', _over_plain(advice)]
    if chosen in advice.good and good > 1:
        lines.append(
            f'It is one of {good} that cannot be told apart; the others need training, or more '
            'calls for each row.'
        )
    if (more := advice.trained) is not None:
        test = more.against(chosen)
        commands = '; '.join(f'async-chunking train {r} --task {task}' for r in more.training)
        lines.append(
            f'Training helps: {more.name}, {_result(more)}, {100 * test.difference:+.0f} points '
            f'in {test.pairs} pairs (p = {test.p_value:.2g}): {commands}.'
        )
    horizons = {c.execution_horizon for c in advice.candidates if c.strategy == chosen.strategy}
    if len(horizons) == 1:
        only = f'Only s = {chosen.execution_horizon} was played with it'
        lines.append(f'{only}: whether another is better is not known.')
    return lines


def _cannot_tell(advice: Advice) -> str:
    plain, best = advice.plain, advice.candidates[0]
    most = f'Most solves {best.name}, {_result(best)}'
    if plain is None:
        return f"The data cannot tell: there is no 'naive' to compare with. {most}."
    test = advice.chosen.against(plain)
    return (
        f'The data cannot tell. {most}, but {advice.chosen.name}, {_result(advice.chosen)}, is '
        f'not shown to be better than naive, {_result(plain)}: {100 * test.difference:+.0f} '
        f'points in {test.pairs} pairs, p = {test.p_value:.2g}, {advice.threshold:.2g} would do. '
        f'For a difference of 10 points play about {advice.enough} rollouts a cell.'
    )


def _over_plain(advice: Advice) -> str:
    plain, chosen = advice.plain, advice.chosen
    assert plain is not None  # Else it is undecided.
    test = chosen.against(plain)
    return (
        f'naive: {_result(plain)}; difference {100 * test.difference:+.0f} points in {test.pairs} '
        f'pairs, p = {test.p_value:.2g} (McNemar).'
    )


def _result(candidate: Candidate) -> str:
    return f'{rate(candidate.success)} % of {candidate.rollouts}'


def _shown(advice: Advice) -> list[Candidate]:
    """Return the first ones, the advice and what there is without any strategy."""
    wanted = [*advice.candidates[:MOST], advice.chosen, advice.plain]
    return [one for one in advice.candidates if one in wanted]


def _table(advice: Advice, task: str, delay: int) -> Table:
    leader = advice.candidates[0]
    rows = []
    for one in _shown(advice):
        test = one.against(leader)
        rows.append(
            (
                one.strategy,
                str(one.execution_horizon),
                rate(one.success),
                str(one.rollouts),
                '' if one is leader else f'{100 * test.difference:+.0f} ({test.p_value:.2g})',
                'as good' if one in advice.good else 'too few' if one in advice.open else '',
                number(one.calls, 1),
                ', '.join(one.training),
            )
        )
    return Table(
        f'{task} at a delay of {delay} steps',
        ('strategy', 's', 'solved [%]', 'n', 'to the first (p)', '', 'calls a row', 'training'),
        tuple(rows),
        words=('', 'training'),
        note='Solved with 95 % Wilson intervals. "as good": not told apart from the first by '
        'McNemar at 5 %; "too few": played less than half as often. '
        f'{len(advice.candidates)} candidates in all, of one policy: another may rank otherwise.',
    )
