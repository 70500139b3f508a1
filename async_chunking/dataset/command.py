# SPDX-License-Identifier: Apache-2.0
"""`async-chunking dataset`: demonstrations from recordings or from a simulated task's expert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from async_chunking.dataset.reading import read_demonstrations

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def from_bags(
    recordings: Annotated[
        list[Path], typer.Argument(help='Recordings, or folders of them (MCAP or SQLite).')
    ],
    robot: Annotated[
        str, typer.Option(help='Name of a robot in config/, or the path of a YAML file.')
    ],
    out: Annotated[Path, typer.Option(help='New folder.')],
    instruction: Annotated[
        str, typer.Option(help='What a language-conditioned policy would be told.')
    ] = '',
    namespace: Annotated[
        str | None, typer.Option(help='Namespace of the robot, where a recording holds several.')
    ] = None,
    sim: Annotated[bool, typer.Option(help='They are of the simulated robot.')] = False,
) -> None:
    """Turn recordings into demonstrations for `async-chunking train --data`."""
    from async_chunking.dataset.from_bags import convert
    from async_chunking.robot.embodiment import load

    count, problems = convert(recordings, load(robot, sim), out, instruction, namespace)
    for problem in problems:
        typer.secho(problem, fg='yellow', err=True)
    facts = read_demonstrations(out).facts
    typer.echo(f'{out}: {count} demonstrations, {facts.frames} frames')


@app.command()
def simulate(
    task: Annotated[str, typer.Argument(help='A simulated task, or an environment.')],
    out: Annotated[Path, typer.Option(help='New folder.')],
    episodes: Annotated[int, typer.Option(help='Successful ones to keep.')] = 400,
    seed: Annotated[int, typer.Option(help='Seed of everything random.')] = 0,
    action_noise: Annotated[
        float | None,
        typer.Option(help='Noise on the commands [rad].', show_default='0.01; environments 0.1'),
    ] = None,
    processes: Annotated[int, typer.Option(help='That record a simulated task.')] = 2,
) -> None:
    """Let the expert of a simulated task, or of an environment that has one, demonstrate it."""
    from async_chunking.environments.demonstrations import Collection, collect
    from async_chunking.sim import TASKS
    from async_chunking.sim.demonstrations import Generation, generate

    noise = {} if action_noise is None else {'action_noise': action_noise}
    if task in TASKS:
        generate(Generation(task, episodes, seed, **noise), out, processes)
    else:
        collect(Collection(task, episodes, seed, **noise), out)
    facts = read_demonstrations(out).facts
    typer.echo(f'{out}: {facts.episodes} demonstrations, {facts.frames} frames')


@app.command()
def show(data: Annotated[Path, typer.Argument(help='Demonstrations.')]) -> None:
    """Check demonstrations and say what is in them."""
    demonstrations = read_demonstrations(data)
    facts = demonstrations.facts
    typer.echo(f'{facts.episodes} episodes, {facts.frames} frames at {demonstrations.fps:g} Hz')
    joints = ', '.join(demonstrations.joint_names) or f'{demonstrations.action_dim} without names'
    typer.echo(f'robot {demonstrations.robot or "unknown"}, joints {joints}')
    for name, values in demonstrations.observations.items():
        typer.echo(f'{name} [{values.shape[1]}]')
    if demonstrations.left_alone:
        typer.echo(f'not read, as they are no numbers: {", ".join(demonstrations.left_alone)}')
    if copied := demonstrations.copied:
        typer.secho(copied, fg='yellow', err=True)
    typer.echo(f'fingerprint {facts.fingerprint}')
