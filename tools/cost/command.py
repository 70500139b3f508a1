# SPDX-License-Identifier: Apache-2.0
"""`python -m tools cost`: what every sampler costs, on a small policy and on a large one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from async_chunking.storage import write_json
from async_chunking.tables import Table, show

if TYPE_CHECKING:
    import torch

    from tools.cost.measure import Cost, CostCase, Task

_CHEAP = (
    *('plain', 'rtc', 'rtc_lean', 'rtc_identity', 'paint', 'paint_slide'),
    *('tt_rtc', 'remac', 'vlash'),
)
QUICK = {  # Of the expert, a minute of bid alone.
    'mixer': (*_CHEAP, 'bid', 'bid_early'),
    'expert': _CHEAP,
}


def cost(
    on: Annotated[
        Literal['both', 'mixer', 'expert'],
        typer.Option(help='The shipped mixer, or an action expert of 300 M random weights.'),
    ] = 'both',
    quick: Annotated[
        bool, typer.Option('--quick', help='Fewer samplers and steps; about a minute.')
    ] = False,
    policy: Annotated[str, typer.Option(help='The mixer: a folder or a shipped name.')] = (
        'viperx_slalom'
    ),
    steps: Annotated[int, typer.Option(min=1, help='Solver steps n.')] = 5,
    rounds: Annotated[int, typer.Option(min=0, help='Repetitions; 0 for the default.')] = 0,
    threads: Annotated[int, typer.Option(min=1, help='Threads of torch on the CPU.')] = 1,
    clock: Annotated[
        Literal['wall', 'cpu'],
        typer.Option(help='Wall time, or CPU time: for a machine that is busy with other work.'),
    ] = 'wall',
    device: Annotated[str, typer.Option(help="'cpu', 'cuda', or both where there is CUDA.")] = '',
    json_file: Annotated[Path | None, typer.Option('--json', help='Write the numbers.')] = None,
) -> None:
    """Time a chunk of every sampler against `plain`, and against its bare policy calls."""
    import torch

    from async_chunking.strategies import SAMPLERS
    from tools.cost.capture import CLOCKS, captured, timer
    from tools.cost.measure import measure

    torch.set_num_threads(threads)
    numbers = []

    def prepare(task: Task) -> Task:
        return captured(task, case.generator) if place.type == 'cuda' else task

    devices = [device] if device else ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]
    for place in map(torch.device, devices):
        for size in ('mixer', 'expert') if on == 'both' else (on,):
            case, title = _case(size, policy, 2 if quick and size == 'expert' else steps, place)
            names = list(QUICK[size] if quick else SAMPLERS)
            times = rounds or {'mixer': 100, 'expert': 3}[size]
            title += f', {place.type}, n = {case.num_steps}, {times} rounds, {clock} time'
            title += f', {threads} threads' if place.type == 'cpu' else ', CUDA graph'
            costs = measure(case, names, times, timer(CLOCKS[clock], place), prepare)
            show(_table(title, costs))
            numbers.append({'title': title, 'costs': [vars(c) for c in costs]})
    if json_file:
        write_json(numbers, json_file)


def _case(size: str, policy: str, steps: int, device: torch.device) -> tuple[CostCase, str]:
    """Return what is measured, and its name."""
    import torch

    from async_chunking.policies.checkpoint.directory import PolicyDirectory
    from async_chunking.policies.checkpoint.shipped import policy_directory
    from tools.cost.expert import ActionExpert, ExpertShape
    from tools.cost.measure import CostCase

    if size == 'expert':
        expert = ActionExpert(ExpertShape(), device=device)
        title = f'expert: {expert.parameters / 1e6:.0f} M random weights, {expert.dtype}'
        return CostCase(expert, {'seed': torch.zeros(1)}, steps, device), title
    mixer = PolicyDirectory(policy_directory(policy)).load('flow', device)
    features = mixer.architecture.observation
    observation = {name: torch.zeros(1, size, device=device) for name, size in features}
    weights = sum(p.numel() for p in mixer.network.parameters())
    return CostCase(mixer, observation, steps, device), f'{policy}: {weights / 1e6:.2f} M weights'


def _table(title: str, costs: list[Cost]) -> Table:
    """Return the costs as a table."""
    plain = next(c.ms for c in costs if c.name == 'plain')
    rows = tuple(
        (
            c.name,
            str(c.calls),
            f'{c.ms:.1f}',
            f'{c.ms / plain:.2f}',
            f'{c.bare_ms:.1f}',
            f'{100 * c.overhead:+.1f} %',
        )
        for c in costs
    )
    columns = ('sampler', 'calls', 'chunk [ms]', '× plain', 'bare calls [ms]', 'overhead')
    return Table(title, columns, rows)
