# SPDX-License-Identifier: Apache-2.0
"""`async-chunking train`: one command makes the policy of each paper from demonstrations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer

from async_chunking.dataset.reading import Demonstrations, check_robot, read_demonstrations
from async_chunking.environments.description import described, is_described, read_description
from async_chunking.policies.checkpoint.sidecar import read_sidecar
from async_chunking.settings import SettingsError, unknown, validated
from async_chunking.sim import TASKS, make_task
from async_chunking.training.recipe import Recipe, TrainConfig, TrainingError, TrainingInputs


class Entry(NamedTuple):
    """A recipe by name, imported when it is used.

    Attributes:
        module: Below this package.
        recipe: Class.
        config: Class.
        base: Checkpoint that it starts from, by its name in a folder; '' for none.
    """

    module: str
    recipe: str
    config: str
    base: str = ''

    def load(self, part: Literal['recipe', 'config']) -> Any:
        """Import a class of it."""
        module = import_module(f'async_chunking.training.{self.module}')
        return getattr(module, getattr(self, part))


RECIPES: dict[str, Entry] = {
    'flow': Entry('flow', 'Flow', 'FlowConfig'),
    'tt_rtc': Entry('tt_rtc', 'TtRtcRecipe', 'TtRtcConfig', base='flow'),
    'remac': Entry('remac', 'RemacRecipe', 'RemacFlowConfig', base='flow'),
    'remac_paired': Entry('remac', 'RemacPairedRecipe', 'RemacPairedConfig', base='flow'),
    'vlash': Entry('vlash', 'VlashRecipe', 'VlashConfig', base='flow'),
    'a2c2': Entry('a2c2', 'A2C2Recipe', 'A2C2Config', base='flow'),
    'a2c2_paired': Entry('a2c2', 'A2C2PairedRecipe', 'A2C2PairedConfig', base='flow'),
    'act': Entry('act', 'ActRecipe', 'ActConfig'),
    'remac_act': Entry('remac_act', 'RemacActRecipe', 'RemacConfig', base='act'),
}
LEROBOT: dict[str, Entry] = {
    'tt_rtc': Entry('lerobot', 'LeRobotTtRtcRecipe', 'TtRtcAdapterConfig'),
    'remac': Entry('lerobot', 'LeRobotRemacRecipe', 'RemacAdapterConfig'),
    'remac_paired': Entry('lerobot', 'LeRobotRemacPairedRecipe', 'RemacPairedAdapterConfig'),
    'vlash': Entry('lerobot', 'LeRobotVlashRecipe', 'VlashAdapterConfig'),
}
"""Recipes on a checkpoint of LeRobot, `--policy lerobot:DIR`."""

_ONE = (
    'warning: there is one demonstration. None is held out, so nothing tells whether the policy '
    'learned it by heart'
)


def train(
    recipe: Annotated[str, typer.Argument(help=f'One of {", ".join(RECIPES)}.')],
    out: Annotated[Path, typer.Option(help='Folder of the checkpoints.')],
    task: Annotated[str, typer.Option(help='A simulated task, or a name for your own data.')] = '',
    data: Annotated[
        Path | None, typer.Option(help='Demonstrations; of a simulated task they are made.')
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help='Checkpoint to start from.', show_default='OUT/flow')
    ] = None,
    policy: Annotated[
        str, typer.Option(help='lerobot:DIR starts from a checkpoint of LeRobot.')
    ] = '',
    settings: Annotated[
        list[str] | None, typer.Option('--set', help='A value of the recipe, as key=value.')
    ] = None,
    resume: Annotated[bool, typer.Option(help='Continue an interrupted run.')] = False,
    overwrite: Annotated[bool, typer.Option(help='Replace a checkpoint in OUT.')] = False,
    debug: Annotated[bool, typer.Option(help='Run in seconds and learn nothing.')] = False,
    threads: Annotated[int, typer.Option(help='Threads of torch; 0 takes one per core.')] = 0,
    device: Annotated[str, typer.Option(help='Device of torch.')] = 'cpu',
) -> None:
    """Train a recipe: `flow` is the base, which most others start from.

    A run that was interrupted goes on with --resume and ends with the same weights. Under torchrun
    each process takes its share of every batch.
    """
    import torch

    from async_chunking.training.flow_recipe import check_positions
    from async_chunking.training.loop import fit

    if threads:
        torch.set_num_threads(threads)
    entries, foreign = _entries(policy)
    if recipe not in entries:
        raise SettingsError(unknown('recipe', recipe, entries))
    entry = entries[recipe]
    config = make_config(recipe, [*_meaning(task, entry), *(settings or [])], debug, entries)
    start = foreign or ((base or out / entry.base) if entry.base else None)
    _check_before_recording(recipe, out, None if foreign else start, resume or overwrite)
    demonstrations = read_demonstrations(data or _made(task, out, debug))
    if demonstrations.facts.episodes == 1:
        typer.secho(_ONE, fg='yellow', err=True)
    if copied := demonstrations.copied:
        typer.secho(copied, fg='yellow', err=True)
    if foreign:
        check_positions(demonstrations, 'a checkpoint of LeRobot commands positions of its state')
    robot, joints = _robot(task, demonstrations)
    inputs = TrainingInputs(demonstrations, task, robot, joints, start)
    if device == 'cuda' and 'LOCAL_RANK' in os.environ:  # Of torchrun: a GPU for each process.
        device = f'cuda:{os.environ["LOCAL_RANK"]}'
    chosen: Recipe = entry.load('recipe')(config, inputs, device)
    if not (resume or overwrite):
        _refuse_replacement(out, chosen.milestones.values())
    history = fit(chosen, out, resume=resume)
    if int(os.environ.get('RANK', '0')) == 0:
        last = history[-1]
        ending = '' if foreign else '.safetensors'
        typer.echo(
            f'{out / chosen.milestones[config.steps]}{ending}: loss {last["train"]:.5f}, '
            f'on held-out episodes {last["validation"]:.5f}'
        )


def _check_before_recording(recipe: str, out: Path, base: Path | None, replaces: bool) -> None:
    """Refuse what would only be found out after minutes of recording.

    Args:
        recipe: Name of it.
        out: Folder of the checkpoints.
        base: Checkpoint of this package to start from, if any.
        replaces: A checkpoint of this name may be there.
    """
    if base is not None:
        read_sidecar(base)
    if not replaces:
        _refuse_replacement(out, [recipe])


def _refuse_replacement(out: Path, names: Iterable[str]) -> None:
    for path in (path for name in names for path in (out / f'{name}.safetensors', out / name)):
        if path.exists():
            msg = f'{path} exists already: name another --out, or say --overwrite'
            raise TrainingError(msg)


def _entries(policy: str) -> tuple[dict[str, Entry], Path | None]:
    """Return the recipes for a policy, and the checkpoint that it names, if any."""
    kind, _, path = policy.partition(':')
    if not policy:
        return RECIPES, None
    if kind != 'lerobot' or not path:
        raise SettingsError(f"--policy is '{policy}'; write lerobot:DIR, or leave it out")
    return LEROBOT, Path(path)


def make_config(
    recipe: str, settings: list[str], debug: bool, entries: Mapping[str, Entry] = RECIPES
) -> TrainConfig:
    """
    Return a recipe's configuration with some values replaced.

    Raises:
        SettingsError: A setting is no key=value, its key unknown, or its value of a wrong kind.
    """
    config = entries[recipe].load('config')()
    config = config.debug() if debug else config
    given = dict(_pair(setting) for setting in settings)
    return validated(type(config), config.model_dump() | given, '--set')


def _meaning(task: str, entry: Entry) -> list[str]:
    """Return how actions are learned where they are no positions: not relative to the state."""
    if not is_described(task) or read_description(task).positions:
        return []
    return ['actions=absolute'] if 'actions' in entry.load('config').model_fields else []


def _pair(setting: str) -> tuple[str, Any]:
    key, equals, value = setting.partition('=')
    if not equals:
        msg = f"--set takes key=value, got '{setting}'"
        raise SettingsError(msg)
    return key, value.split(',') if ',' in value else value


def _made(task: str, out: Path, debug: bool) -> Path:
    """Return a simulated task's demonstrations under `out`, recorded if they are not there."""
    from async_chunking.environments.demonstrations import Collection, collect
    from async_chunking.sim.demonstrations import Generation, generate

    folder = out / ('demonstrations_debug' if debug else 'demonstrations')
    if (folder / 'meta' / 'info.json').exists():
        return folder
    known = [*TASKS, *described()]
    if task not in TASKS and not is_described(task):
        msg = f"'{task}' is no simulated task ({', '.join(known)}): name its --data"
        raise TrainingError(msg)
    if int(os.environ.get('WORLD_SIZE', '1')) > 1:
        msg = 'several processes need demonstrations that are there already: name them with --data'
        raise TrainingError(msg)
    if task not in TASKS:
        return collect(Collection(task, episodes=2) if debug else Collection(task), folder)
    how = Generation(task, episodes=2) if debug else Generation(task)
    return generate(how, folder, processes=1 if debug else 2)


def _robot(task: str, data: Demonstrations) -> tuple[str, tuple[str, ...]]:
    """Return robot and joints, checked against the task's where it is a simulated one."""
    if is_described(task):
        names = read_description(task).names
        check_robot(data, task, names)
        return task, names
    if task not in TASKS:
        return data.robot, data.joint_names
    simulated = make_task(task)
    joints = tuple(simulated.plant.joints)
    check_robot(data, simulated.embodiment, joints)
    return simulated.embodiment, joints
