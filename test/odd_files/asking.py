# SPDX-License-Identifier: Apache-2.0
"""What the package says of a recording or of data, in a few words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from async_chunking.bags.files import find
from async_chunking.bags.summary import summarize_bag
from async_chunking.dataset.from_bags import convert
from async_chunking.dataset.reading import Demonstrations, read_demonstrations
from async_chunking.robot.embodiment import Embodiment

LIMITS = {'lower': -3.0, 'upper': 3.0, 'velocity': 10.0, 'acceleration': 1000.0}


def robot(joints: Sequence[str], **changes: Any) -> Embodiment:
    """Return a robot at 50 Hz; its joints are on `joint_states`, its commands on `go`."""
    content = {
        'name': 'odd',
        'control_rate_hz': 50.0,
        'joints': [{'name': name, **LIMITS} for name in joints],
        'observations': {'observation.state': {'kind': 'measured', 'size': len(joints)}},
        'commands': [{'topic': 'go', 'sink': 'float64_multi_array', 'joints': [*joints]}],
        'policy': {'path': 'odd', 'policy_rate_hz': 50.0, 'execution_horizon': 4},
    }
    return Embodiment.model_validate(content | changes)


def shown(values: Any) -> str:
    return ' '.join(f'{float(value):.4g}' for value in np.ravel(values))


def demonstrated(
    folder: Path, described: Embodiment, paths: Sequence[str] = ('bag',), **options: Any
) -> Demonstrations:
    """Return recordings as data; `options` go to the conversion."""
    places = [folder / path for path in paths]
    convert(places, described, folder / 'data', '', **options)
    return read_demonstrations(folder / 'data')


def first_frame(described: Embodiment, **options: Any) -> Callable[[Path], str]:
    """Return what asks for state and action of the first frame."""

    def ask(folder: Path) -> str:
        data = demonstrated(folder, described, **options)
        state = data.observations['observation.state'][0]
        return f'state {shown(state)}, action {shown(data.actions[0])}'

    return ask


def smoothness(described: Embodiment) -> Callable[[Path], str]:
    """Return what asks for the frames, and for the largest step between two."""

    def ask(folder: Path) -> str:
        data = demonstrated(folder, described)
        jump = np.abs(np.diff(data.observations['observation.state'], axis=0)).max()
        return f'{len(data.actions)} frames, steps of {jump:.2g}'

    return ask


def ticks(*paths: str, named: Sequence[str] = ()) -> Callable[[Path], str]:
    """Return what asks how many ticks are reported, and whether the trouble is named."""

    def ask(folder: Path) -> str:
        reports = [
            summarize_bag(bag) for bag in find([folder / path for path in paths or ['bag']])
        ]
        count = sum(run.figures['ticks'] for report in reports for run in report.runs)
        problems = ' '.join(problem for report in reports for problem in report.problems)
        said = all(word in problems for word in named) and bool(named) == bool(problems)
        told = ('named' if said else f'not named: {problems}') if named else problems
        return f'{count} ticks' + (f', {told}' if told else '')

    return ask
