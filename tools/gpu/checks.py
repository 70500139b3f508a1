# SPDX-License-Identifier: Apache-2.0
"""
What is checked on a GPU; each check yields rows of the table as it goes.

A check compares with the same computation on the CPU in single precision, from the same noise.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.policies.base import FlowPolicy, Observation
from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.checkpoint.shipped import policy_directory
from async_chunking.policies.placed import Placement, place
from async_chunking.policies.weak import WithWeak
from async_chunking.samplers.base import sample_chunk
from async_chunking.strategies import SAMPLERS
from tools.cost.capture import CLOCKS, captured, timer
from tools.cost.expert import ActionExpert, ExpertShape
from tools.cost.measure import CostCase, measure

SHIPPED = 'viperx_slalom'
SMALL = ExpertShape(horizon=16, action_dim=8, context=32, width=64, layers=2, heads=2, head_dim=32)
CHEAP = ('plain', 'rtc', 'rtc_identity', 'paint', 'paint_slide', 'tt_rtc', 'remac', 'vlash')
EXACT = 1e-3  # Of single precision on two devices, whose sums run in another order.
HALF = 0.1  # Of actions near 1 in half precision.


class CheckResult(NamedTuple):
    """
    One line of the table.

    Attributes:
        check: What was run.
        variant: In which way.
        result: A number with its unit, or what went wrong.
        good: Whether it is what it should be; None where there is nothing to compare.
    """

    check: str
    variant: str
    result: str
    good: bool | None


Check = Callable[[torch.device, int], Iterator[CheckResult]]
"""(device, rounds) -> rows."""


def milliseconds(task: Callable[[], Any], device: torch.device, rounds: int) -> float:
    """Return the median time of a task [ms], after three runs that are not timed."""
    timed = timer(CLOCKS['wall'], device)
    for _ in range(3):
        timed(task)
    return statistics.median(timed(task) for _ in range(rounds))


def near(check: str, variant: str, value: Tensor, wanted: Tensor, limit: float) -> CheckResult:
    """Return the row of the largest difference of two chunks."""
    gap = (value.cpu().double() - wanted.double()).abs().max().item()
    return CheckResult(check, variant, f'differs by {gap:.1e}', gap <= limit)


def samplers(device: torch.device, rounds: int) -> Iterator[CheckResult]:
    """Compare each sampler on the device with itself on the CPU."""
    del rounds  # Unused.
    here, there = mixer('cpu'), mixer(device)
    for name in SAMPLERS:
        yield near('sampler', name, drawn(there, name), drawn(here, name), EXACT)


def placements(device: torch.device, rounds: int) -> Iterator[CheckResult]:
    """Compare precisions and compilation with single precision on the CPU, and time them."""
    exact = drawn(expert_of('cpu'), 'rtc')
    for precision, compiled in (
        ('float32', False), ('bfloat16', False), ('float16', False), ('float32', True),
    ):  # fmt: skip
        subject = expert_of(device, Placement(str(device), precision, compiled))
        variant = precision + ', compiled' * compiled
        began = time.perf_counter()
        chunk = drawn(subject, 'rtc')
        first = time.perf_counter() - began
        yield near('placed', variant, chunk, exact, EXACT if precision == 'float32' else HALF)
        taken = milliseconds(lambda subject=subject: drawn(subject, 'rtc'), device, rounds)
        yield CheckResult(
            'placed', variant, f'{taken:.1f} ms a chunk, the first {first:.1f} s', None
        )


def graphs(device: torch.device, rounds: int) -> Iterator[CheckResult]:
    """Compare a draw that is replayed as one CUDA graph with the same draw step by step."""
    if device.type != 'cuda':
        yield CheckResult('graph', 'all', 'needs CUDA', None)
        return
    policy = PolicyDirectory(policy_directory(SHIPPED)).load('flow', device)
    observation = {n: v.to(device) for n, v in mixer('cpu').observation.items()}
    for name in CHEAP:
        case = CostCase(policy, observation, 5, device)
        draw, _ = case.drawing(name)
        wanted, kept = draw().cpu(), {}
        task = functools.partial(_keep, kept, draw)
        replay = captured(task, case.generator)
        replay()
        torch.cuda.synchronize(device)
        yield near('graph', name, kept['x'], wanted, EXACT)
        quick, slow = (milliseconds(each, device, rounds) for each in (replay, draw))
        yield CheckResult('graph', name, f'{quick:.2f} ms, step by step {slow:.2f} ms', None)


def _keep(kept: dict[str, Tensor], draw: Callable[[], Tensor]) -> None:
    kept['x'] = draw()


def expert(device: torch.device, rounds: int) -> Iterator[CheckResult]:
    """Time the samplers on an action expert of 300 M weights; on the CPU on a small one."""
    shape = ExpertShape() if device.type == 'cuda' else SMALL
    policy = ActionExpert(shape, device=device)
    case = CostCase(policy, {'seed': torch.zeros(1)}, 10, device)
    title = f'{policy.parameters / 1e6:.0f} M, n = 10'

    def prepare(task: Callable[[], Any]) -> Callable[[], Any]:
        return captured(task, case.generator) if device.type == 'cuda' else task

    costs = {
        cost.name: cost
        for cost in measure(case, CHEAP, rounds, timer(CLOCKS['wall'], device), prepare)
    }
    for name, cost in costs.items():
        text = f'{cost.ms:.1f} ms, {100 * cost.overhead:+.1f} % over its calls'
        yield CheckResult('expert', f'{name}, {title}', text, cost.overhead <= 0.05)
    ratio = costs['paint'].ms / costs['rtc'].ms
    yield CheckResult('expert', 'paint / rtc', f'{ratio:.2f}', ratio <= 1.0)
    yield from _compiled(policy, device, rounds)


def _compiled(policy: ActionExpert, device: torch.device, rounds: int) -> Iterator[CheckResult]:
    """Compare one velocity, compiled, with itself."""
    shape = (1, policy.horizon, policy.action_dim)
    x, half = torch.ones(shape, device=device), torch.full((1,), 0.5, device=device)
    encoding = policy.encode({'seed': torch.zeros(1)})
    compiled = torch.compile(policy.velocity)
    with torch.no_grad():
        calls = {
            name: lambda velocity=velocity: velocity(x, half, encoding)
            for name, velocity in (('eager', policy.velocity), ('compiled', compiled))
        }
        began = time.perf_counter()
        value = calls['compiled']()
        first = time.perf_counter() - began
        yield near('velocity', 'compiled', value, calls['eager']().cpu(), HALF)
        for name, call in calls.items():
            taken = milliseconds(call, device, rounds)
            rest = f', the first {first:.0f} s' if name == 'compiled' else ''
            yield CheckResult('velocity', name, f'{taken:.2f} ms{rest}', None)


class Subject(NamedTuple):
    """A policy and what it observes."""

    policy: FlowPolicy
    observation: Observation


def mixer(device: torch.device | str) -> Subject:
    """Return the flow policy that comes with the package."""
    folder = PolicyDirectory(policy_directory(SHIPPED))
    observation = {n: torch.full((1, *shape), 0.1) for n, shape in folder.expects.items()}
    return Subject(place(folder.load('flow', device), Placement(str(device))), observation)


def expert_of(device: torch.device | str, placement: Placement | None = None) -> Subject:
    """Return an expert that every machine runs at once, in single precision if not placed."""
    policy = ActionExpert(SMALL, 5, device, torch.float32)
    placed = place(policy, placement or Placement(str(device)))
    return Subject(placed, {'seed': torch.zeros(1)})


def drawn(subject: Subject, name: str) -> Tensor:
    """Return a chunk [1, rows, D], always from the same noise and for the same plan."""
    policy = subject.policy
    noise = torch.randn(1, policy.horizon, policy.action_dim, generator=_seeded(1))
    boundary = Boundary(0.1 + 0.01 * noise, 2, 4)
    if 'weak_policy' in SAMPLERS[name].needs:
        policy = WithWeak(policy, policy)
    sampler = SAMPLERS[name].load()
    return sample_chunk(policy, sampler, subject.observation, boundary, _seeded(2)).actions


def _seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)
