# SPDX-License-Identifier: Apache-2.0
"""`python -m tools kinetix ...`: one command a stage; each continues where it stopped."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from async_chunking.bench.delays import DelayModel
from async_chunking.bench.rows import encode, read
from async_chunking.bench.sweep import Cell
from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.checkpoint.sidecar import read_sidecar
from async_chunking.storage import write_files
from async_chunking.tables import show
from tools.kinetix import results
from tools.kinetix.data import HORIZON, SHIPPED, policy_path
from tools.kinetix.levels import LEVELS, level_path

if TYPE_CHECKING:
    from tools.kinetix.env import Level

ALL, STRATEGIES = [*map(str, LEVELS)], ['naive', 'bid', 'rtc', 'paint']
DEBUG_STEPS, DEBUG_TRANSITIONS, DEBUG_ROLLOUTS, DEBUG_POPULATION = 256, 400, 4, 4
DELAYS, USUAL = [0, 1, 2, 3, 4], [0]

app = typer.Typer(
    help='The Kinetix benchmark, from experts to tables.',
    no_args_is_help=True,
    rich_markup_mode=None,
)
Levels = Annotated[Path | None, typer.Option(help='Folder of the level files.')]
Names = Annotated[list[str], typer.Option('--level', help='Level; may be given several times.')]
Folder = Annotated[Path, typer.Option(help='Where the stages keep their files.')]
Horizon = Annotated[int, typer.Option(help='Rows of a chunk; 8 in the benchmark.')]
Debug = Annotated[bool, typer.Option('--debug', help='Tiny sizes, for a test of the machinery.')]
Seconds = Annotated[
    float, typer.Option('--max-seconds', help='Stop after so long; the next call goes on.')
]
Seed = Annotated[int, typer.Option(help='Seed of weights, actions and noise.')]
RUNS = Path('runs') / 'kinetix'


class SetupError(AsyncChunkingError):
    """The simulator is not installed here."""


@app.command()
def plan(
    level: Names = ALL,
    levels: Levels = None,
    folder: Folder = RUNS,
    population: Annotated[int, typer.Option(min=2, help='States that are kept at a time.')] = 512,
    max_s: Seconds = 540.0,
    seed: Seed = 0,
    debug: Debug = False,
) -> None:
    """Search for an episode that reaches the goal, where training an expert may begin."""
    for simulated in _simulated(level, levels, folder):
        from tools.kinetix.plan import plan_level

        states, seconds = (DEBUG_POPULATION, 0.0) if debug else (population, max_s)
        length = plan_level(
            simulated, _folder(folder, debug), seed=seed, population=states, max_s=seconds
        )
        typer.echo(f'{simulated.name}: ' + (f'{length} steps' if length else 'nothing found'))


@app.command()
def expert(
    level: Names = ALL,
    levels: Levels = None,
    folder: Folder = RUNS,
    max_steps: Annotated[int, typer.Option(help='Environment steps per level.')] = 2_000_000,
    max_s: Seconds = 540.0,
    solve_rate: Annotated[float, typer.Option(help='Enough, over the last episodes.')] = 0.9,
    seed: Seed = 0,
    debug: Debug = False,
) -> None:
    """
    Train an expert for each level with PPO, until it solves enough or the budget is spent.

    Half of the environments begin along the level's planned episode, where there is one. On a
    GPU more environments run side by side.
    """
    for simulated in _simulated(level, levels, folder):
        from tools.kinetix.expert import train_expert
        from tools.kinetix.ppo import DEBUG_RECIPE, usual_recipe

        recipe, steps = (DEBUG_RECIPE, DEBUG_STEPS) if debug else (usual_recipe(), max_steps)
        about = train_expert(
            simulated, _folder(folder, debug), recipe, seed, solve_rate, steps, max_s
        )
        state = 'finished' if about['finished'] else 'to be continued'
        typer.echo(
            f'{simulated.name}: {state}, {about["steps"]} steps, solves {about["solve_rate"]:.3f}'
        )


@app.command()
def curves(
    folder: Folder = RUNS,
    out: Annotated[Path | None, typer.Option(help='Keep the curves in this file.')] = None,
    image: Annotated[Path | None, typer.Option(help='Draw them into this file.')] = None,
    debug: Debug = False,
) -> None:
    """Print how far each expert came; keep and draw the learning curves."""
    from tools.kinetix.curves import draw_curves, read_curves, write_curves

    by_level = read_curves(_folder(folder, debug))
    if out:
        write_curves(by_level, out)
    if image:
        draw_curves(by_level, image)
    for name, curve in by_level.items():
        typer.echo(f'{name}: {curve[-1][0]} steps, solves {curve[-1][2]:.3f}')


@app.command()
def ship(level: Names, folder: Folder = RUNS, to: Folder = SHIPPED) -> None:
    """Write experts in half precision, to act and not to go on learning, beside the policies."""
    from tools.kinetix.store import ship as ship_expert

    for name in level:
        target = to / name / 'expert.safetensors'
        ship_expert(folder / f'{name}.expert.safetensors', target)
        typer.echo(f'{name}: {target.stat().st_size / 1e6:.2f} MB')


@app.command()
def collect(
    level: Names = ALL,
    levels: Levels = None,
    folder: Folder = RUNS,
    transitions: Annotated[int, typer.Option(help='Per level, at least.')] = 300_000,
    spread: Annotated[
        float, typer.Option(min=0.01, help="Noise of actions; 1 is the expert's own.")
    ] = 1.0,
    debug: Debug = False,
) -> None:
    """Record what each expert sees and does."""
    for simulated in _simulated(level, levels, folder):
        from tools.kinetix.collect import collect_data
        from tools.kinetix.ppo import DEBUG_RECIPE, RECIPE

        recipe, wanted = (DEBUG_RECIPE, DEBUG_TRANSITIONS) if debug else (RECIPE, transitions)
        figures = collect_data(simulated, _folder(folder, debug), wanted, recipe, spread=spread)
        typer.echo(
            f'{simulated.name}: {figures["transitions"]} transitions, '
            f'{figures["episodes"]} episodes, {figures["solve_rate"]:.3f} of them solved'
        )


@app.command()
def train(
    level: Names = ALL,
    folder: Folder = RUNS,
    max_s: Seconds = 540.0,
    horizon: Horizon = HORIZON,
    updates: Annotated[int, typer.Option(min=1, help='Updates of the weights.')] = 3000,
    debug: Debug = False,
) -> None:
    """Train a flow policy from each level's data."""
    import torch

    from tools.kinetix.flow import DEBUG_FLOW_RECIPE, FLOW_RECIPE, train_flow

    _report_progress()
    torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', '0')) or torch.get_num_threads())
    usual = DEBUG_FLOW_RECIPE if debug else replace(FLOW_RECIPE, updates=updates)
    recipe = replace(usual, horizon=horizon)
    for name in level:
        done = train_flow(name, _folder(folder, debug), recipe, max_s=max_s)
        state = 'finished' if done['finished'] else 'to be continued'
        typer.echo(f'{name}: {state}, {done["updates"]} updates, loss {done["loss"]:.4f}')


@app.command()
def evaluate(
    level: Names = ALL,
    strategy: Annotated[list[str], typer.Option(help='Several times, if wanted.')] = STRATEGIES,
    delay: Annotated[list[int], typer.Option(help='In steps; several times, if wanted.')] = DELAYS,
    execution_horizon: Annotated[
        list[int], typer.Option(help='In steps, several; 0: the larger of 1 and the delay.')
    ] = USUAL,
    horizon: Horizon = HORIZON,
    rollouts: Annotated[int, typer.Option(min=1, help='Per cell.')] = 256,
    levels: Levels = None,
    folder: Folder = RUNS,
    debug: Debug = False,
) -> None:
    """Play the flow policies under delay; cells that are there already are not played again.

    A level without a policy in the folder is played with the one that comes with the package.
    """
    _require_simulator()
    for name in level:
        level_path(name, levels)
    from async_chunking.policies.checkpoint.weights import load_policy
    from tools.kinetix.evaluate import evaluate as play
    from tools.kinetix.evaluate import sampler_of

    place = _folder(folder, debug)
    work = []
    for name in level:
        path = _policy_path(place, name, horizon)
        policy, digest = load_policy(path), read_sidecar(path).weights_sha256[:16]
        for steps in delay:
            for wanted in execution_horizon:
                for chosen in strategy:
                    length = wanted or max(1, steps)
                    cell = Cell(
                        f'kinetix/{name}',
                        digest,
                        chosen,
                        DelayModel(steps),
                        length,
                        policy.horizon,
                    )
                    sampler_of(cell, policy)  # Refuses what cannot be run, before anything is.
                    shard = f'{name}-{chosen}-d{steps}-s{length}-{rollouts}-{digest[:8]}.parquet'
                    work.append((name, policy, cell, place / 'rows' / shard))
    for name, policy, cell, shard in [part for part in work if not part[-1].exists()]:
        (simulated,) = _simulated([name], levels, folder)
        rows = play(simulated, policy, cell, DEBUG_ROLLOUTS if debug else rollouts)
        write_files({shard: encode(rows)})
        solved = sum(row['success'] for row in rows) / len(rows)
        typer.echo(f'{shard.stem}: solved {solved:.3f}')


@app.command()
def tables(
    folder: Folder = RUNS,
    out: Annotated[Path | None, typer.Option(help='Write all rows into this file.')] = None,
    page: Annotated[Path | None, typer.Option(help='Put the tables into this page.')] = None,
    images: Annotated[Path | None, typer.Option(help='Write the figures here.')] = None,
    debug: Debug = False,
) -> None:
    """Print success and consistency of the evaluated cells; write rows, page, figures."""
    place = _folder(folder, debug) / 'rows'
    rows = read(place if place.is_dir() else folder)
    shown = list(results.all_tables(rows))
    if out:
        write_files({out: encode(rows)})
    if page:
        results.put_into_page(page, shown)
    if images:
        results.all_figures(rows, images)
    for table in shown:
        show(table)


_open: dict[Path, Level] = {}


def _require_simulator() -> None:
    if find_spec('kinetix') is None:
        msg = 'kinetix-env is not installed here: make setup-kinetix, then use .venv-kinetix'
        raise SetupError(msg)


def _simulated(names: list[str], levels: Path | None, folder: Path) -> list[Level]:
    """Return the levels, loaded once."""
    paths = [level_path(name, levels) for name in names]
    _require_simulator()
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str((folder / 'compiled').absolute()))
    # XLA reports each cached function as made for another machine, for a flag of its own.
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    warnings.filterwarnings('ignore', module='.*(gym|pygame|moviepy).*')
    from tools.kinetix.env import Level

    _report_progress()
    for path in paths:
        if path not in _open:
            _open[path] = Level(path)
    return [_open[path] for path in paths]


def _report_progress() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%H:%M:%S'))
    logger = logging.getLogger('tools.kinetix')
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)


def _folder(folder: Path, debug: bool) -> Path:
    return folder / 'debug' if debug else folder


def _policy_path(folder: Path, level: str, horizon: int) -> Path:
    trained, shipped = (policy_path(place, level, horizon) for place in (folder, SHIPPED))
    return trained if trained.with_suffix('.json').exists() else shipped
