# SPDX-License-Identifier: Apache-2.0
"""
`python -m tools picture`: an episode under two strategies, side by side, as a moving picture.

Below each robot runs the plan of one joint; a line marks each seam, red where the plan jumps.
The episode is not chosen by hand: it is the first of seed 0 in which the two end differently, and
the command says which that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFont

from async_chunking.bench.delays import DelayModel
from async_chunking.bench.rollout import ClosedLoopRun, Seed, play
from async_chunking.bench.serving import SamplingServer
from async_chunking.correctors import Corrector
from async_chunking.errors import AsyncChunkingError
from async_chunking.executor import Behaviour, ExecutorConfig
from async_chunking.policies.base import FlowPolicy
from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.checkpoint.shipped import policy_directory
from async_chunking.robot import embodiment
from async_chunking.sim import make_task
from async_chunking.sim.picture import Painter
from async_chunking.sim.task import Task
from async_chunking.strategies import resolve

SIZE = (320, 240)  # Of a robot's picture [pixels].
STRIP = 90  # Height of the plan below it [pixels].
SPAN = 75  # Ticks of the plan that are shown.
EVERY = 2  # Ticks a frame.
TRIES = 64  # Episodes to look through.
END_MS = 1500  # The last frame stays [ms].
SCALE = 0.25  # From the middle of a plan's strip to its edge [rad].
JUMP = 0.03  # A seam that jumps by more is drawn red [rad].
INK, FAINT, RED, GREEN = (40, 40, 40), (190, 190, 190), (200, 40, 40), (30, 130, 60)
HORIZON, EXECUTION_HORIZON = 16, 8


@dataclass
class Film:
    """What was seen of one episode: frames, and the plan of each tick [D]."""

    frames: list[np.ndarray] = field(default_factory=list)
    planned: list[np.ndarray] = field(default_factory=list)
    seams: list[bool] = field(default_factory=list)
    solved: bool = False


class FilmedRun(ClosedLoopRun):
    """A loop whose environment is painted every few ticks."""

    def __init__(self, painter: Painter | None, film: Film, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._painter, self._film = painter, film

    def act(self) -> None:
        """Send this tick's command, and look."""
        super().act()
        step = self._steps[-1]
        self._film.planned.append(step.planned)
        self._film.seams.append(step.took_over)
        self._film.solved = self._success
        if self._painter is not None and step.tick % EVERY == 0:
            self._film.frames.append(self._painter.paint().copy())


def picture(
    out: Annotated[Path, typer.Option(help='File to write, .gif.')] = Path('docs/images/seam.gif'),
    strategies: Annotated[str, typer.Option(help='Two names.')] = 'naive rtc',
    task: Annotated[str, typer.Option(help='A simulated task with a shipped policy.')] = (
        'viperx_slalom'
    ),
    delay: Annotated[int, typer.Option(min=0, help='Steps.')] = 6,
    joint: Annotated[int, typer.Option(min=0, help='Whose plan is drawn.')] = 0,
) -> None:
    """Film the first episode that two strategies end differently."""
    first, second = strategies.split()
    for rollout in range(TRIES):
        films = [play_one(task, name, delay, rollout, paint=False) for name in (first, second)]
        if films[0].solved < films[1].solved:
            break
    else:
        msg = f'{second} solves none of {TRIES} episodes that {first} does not: try another delay'
        raise AsyncChunkingError(msg)
    films = [play_one(task, name, delay, rollout, paint=True) for name in (first, second)]
    titles = [f'{name}, delay {delay * 20} ms' for name in (first, second)]
    frames = composed(films, titles, joint)
    out.parent.mkdir(parents=True, exist_ok=True)
    durations = [EVERY * 20] * (len(frames) - 1) + [END_MS]
    frames[0].save(
        out, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True
    )
    typer.echo(
        f'{out}: {out.stat().st_size / 1e6:.1f} MB, {len(frames)} frames; {task}, episode '
        f'{rollout} of seed 0, the first that {second} solves and {first} does not'
    )


def play_one(task_name: str, strategy_name: str, delay: int, rollout: int, paint: bool) -> Film:
    """Play one episode under a strategy, painted or not."""
    task, strategy = make_task(task_name), resolve(strategy_name)
    directory = PolicyDirectory(policy_directory(task_name))
    policy = directory.policy_for(strategy)
    if not isinstance(policy, FlowPolicy):
        raise AsyncChunkingError(f'{directory.path} has no flow policy')
    weak = directory.weak_policy() if 'weak_policy' in strategy.needs else None
    seed, film = Seed(0, rollout), Film()
    loop = FilmedRun(
        Painter(task, *SIZE, shadows=False) if paint else None,
        film,
        task,
        _config(task, directory),
        Behaviour(strategy_name, strategy.load_merger(), Corrector()),
        DelayModel(delay).draws(HORIZON, EXECUTION_HORIZON, seed.rng(1)),
        seed,
    )
    play([loop], SamplingServer(policy, strategy.load_sampler(), weak))
    return film


def _config(task: Task, directory: PolicyDirectory) -> ExecutorConfig:
    robot = embodiment.load(task.embodiment)
    rate = next(iter(directory.sidecars.values())).policy_rate_hz
    return ExecutorConfig(
        robot.limits,
        robot.joint_names,
        HORIZON,
        EXECUTION_HORIZON,
        control_rate_hz=task.control_rate_hz,
        policy_rate_hz=rate,
    )


def composed(films: Sequence[Film], titles: Sequence[str], joint: int) -> list[Image.Image]:
    """Return the frames of both films side by side, each with its plan below."""
    plans = [np.array(film.planned)[:, joint] for film in films]
    length = max(len(film.frames) for film in films)
    frames = []
    for index in range(length):
        image = Image.new('RGB', (2 * SIZE[0] + 8, SIZE[1] + STRIP), 'white')
        for side, (film, title, plan) in enumerate(zip(films, titles, plans, strict=True)):
            left = side * (SIZE[0] + 8)
            at = min(index, len(film.frames) - 1)
            image.paste(Image.fromarray(film.frames[at]), (left, 0))
            over = at < index or index == length - 1
            verdict = '' if not over else ': solved' if film.solved else ': failed'
            colour = INK if not over else GREEN if film.solved else RED
            draw = ImageDraw.Draw(image)
            draw.text((left + 8, 6), title + verdict, fill=colour, font=_font(16))
            _strip(draw, left, plan, film.seams, min(at * EVERY, len(plan) - 1))
        frames.append(image)
    return _in_one_palette(frames)


def _in_one_palette(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Return the frames in 128 colours, those of the lines among them."""
    sample = frames[len(frames) // 2].copy()
    draw = ImageDraw.Draw(sample)
    for number, colour in enumerate((INK, FAINT, RED, GREEN)):
        draw.rectangle([0, 20 * number, SIZE[0], 20 * number + 20], fill=colour)
    palette = sample.quantize(128)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _strip(
    draw: ImageDraw.ImageDraw,
    left: int,
    plan: np.ndarray,
    seams: Sequence[bool],
    now: int,
) -> None:
    """Draw the plan of the last ticks, and its seams."""
    first = max(0, now - SPAN)
    shown = plan[first : now + 1]
    middle = float(np.nanmean(shown)) if np.isfinite(shown).any() else 0.0

    def place(tick: int, value: float) -> tuple[float, float]:
        x = left + (tick - first) * SIZE[0] / SPAN
        return x, SIZE[1] + STRIP / 2 - (value - middle) / SCALE * (STRIP / 2 - 6)

    for tick in range(first + 1, now + 1):
        before, value = plan[tick - 1], plan[tick]
        if not (np.isfinite(before) and np.isfinite(value)):
            continue
        jump = seams[tick] and abs(value - before) > JUMP
        if seams[tick]:
            x, _ = place(tick, value)
            draw.line(
                [(x, SIZE[1] + 4), (x, SIZE[1] + STRIP - 4)],
                fill=RED if jump else FAINT,
                width=3 if jump else 1,
            )
        draw.line(
            [place(tick - 1, before), place(tick, value)], fill=RED if jump else INK, width=2
        )
