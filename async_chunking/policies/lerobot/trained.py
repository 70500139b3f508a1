# SPDX-License-Identifier: Apache-2.0
"""
Recipes trained on a LeRobot checkpoint: one base in memory, an adapter for each recipe.

::

    DIR/lerobot.json                  the base: its folder, and the SHA-256 of its files
    DIR/<recipe>/<recipe>.json        what it knew: delays, joints, rate; SHA-256 of its weights
    DIR/<recipe>/adapter_*            the adapter, as PEFT writes it
    DIR/a2c2.json, .safetensors       a corrector, if one was trained

Never imports torch; `policy_for` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from async_chunking.policies.checkpoint.directory import corrector_offers
from async_chunking.policies.checkpoint.sidecar import CheckpointError, DataSource
from async_chunking.policies.lerobot.source import LeRobotSource
from async_chunking.policies.source import PolicySource
from async_chunking.settings import Settings, validated
from async_chunking.storage import read_json, sha256, write_files
from async_chunking.strategies import RECIPES, Strategy

if TYPE_CHECKING:
    import torch

    from async_chunking.policies.base import ChunkPolicy, FlowPolicy
    from async_chunking.policies.lerobot.adapters import Adapters

NAMED = 'lerobot.json'


class Base(Settings):
    """
    What a folder's recipes were trained on.

    Attributes:
        base: Folder of the checkpoint.
        files: Name -> SHA-256 of each of its files that say how it moves.
    """

    base: str
    files: dict[str, str]

    def check(self, file: Path) -> None:
        """
        Refuse a base that is not what it was.

        Args:
            file: Where this stands; begins the message.

        Raises:
            CheckpointError: A file is missing or another; names it and the remedy.
        """
        files = digests(Path(self.base))
        differ = sorted(n for n in self.files | files if self.files.get(n) != files.get(n))
        if differ:
            msg = (
                f'{file}: {differ[0]} in {self.base} is not the one that the adapters were '
                'trained on; restore it, or train them again on this one'
            )
            raise CheckpointError(msg)


class Trained(Settings):
    """
    What an adapter says about itself.

    Attributes:
        recipe: Name.
        task, robot, joint_names, policy_rate_hz, data: As in `Sidecar`.
        delay_range: Smallest and largest delay that it was trained for [steps].
        weights_sha256: Digest of its weights.
        training: Configuration, losses, duration.
    """

    recipe: str
    task: str = ''
    robot: str = ''
    joint_names: tuple[str, ...] = ()
    policy_rate_hz: float = Field(default=50.0, gt=0.0)
    data: DataSource = DataSource()
    delay_range: tuple[int, int]
    weights_sha256: str
    training: dict[str, Any] = Field(default_factory=dict)


class TrainedSource(PolicySource):
    """
    The recipes in a folder and their base, loaded once for all.

    Raises:
        CheckpointError: The base is not there or another one, or an adapter is not what it says.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.title = str(self.path)
        named = validated(Base, _read(self.path / NAMED), self.path / NAMED)
        self.base = LeRobotSource(_found(named.base, self.path))
        self.base.check()
        named.model_copy(update={'base': str(self.base.path)}).check(self.path / NAMED)
        self.recipes = {
            name: self._recipe(name)
            for name in sorted(need.removeprefix('recipe:') for need in RECIPES)
            if (self.path / name / f'{name}.json').is_file()
        }
        for key in ('joint_names', 'policy_rate_hz'):
            values = {name: getattr(each, key) for name, each in self.recipes.items()}
            if len(set(values.values())) > 1:
                raise CheckpointError(f'{self.path}: the adapters disagree about {key}: {values}')
        self._policies: dict[str, FlowPolicy] = {}
        self._adapters: Adapters | None = None
        self._flow: FlowPolicy | ChunkPolicy | None = None

    def _recipe(self, name: str) -> Trained:
        file = self.path / name / f'{name}.json'
        about = validated(Trained, _read(file), file)
        if about.recipe != name:
            msg = f"{file}: recipe = '{about.recipe}', in a folder named '{name}'; give it back "
            raise CheckpointError(msg + 'its name')
        return about

    @property
    def horizon(self) -> int:
        """Rows of a chunk [steps]."""
        return self.base.horizon

    @property
    def action_dim(self) -> int:
        """Columns of a chunk."""
        return self.base.action_dim

    @property
    def expects(self) -> Mapping[str, tuple[int, ...]]:
        """What the base reads."""
        return self.base.expects

    @property
    def resizing(self) -> str:
        """How the base's training scaled pictures."""
        return self.base.resizing

    @property
    def anchored(self) -> bool:
        """Whether the base's actions are counted from the measured joints."""
        return self.base.anchored

    @property
    def offers(self) -> frozenset[str]:
        """What the base offers, the recipes, and correctors beside them."""
        recipes = {f'recipe:{name}' for name in self.recipes}
        return self.base.offers | recipes | corrector_offers(str(self.path))

    @property
    def delays(self) -> dict[str, tuple[int, int]]:
        """What the training of each recipe knew [steps]."""
        own = {f'recipe:{name}': about.delay_range for name, about in self.recipes.items()}
        return self.base.delays | own

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joints of the data that the recipes were trained on."""
        return next((each.joint_names for each in self.recipes.values()), ())

    @property
    def policy_rate_hz(self) -> float:
        """Rate of the data that the recipes were trained on [Hz]."""
        return next((each.policy_rate_hz for each in self.recipes.values()), 0.0)

    def recipe_for(self, strategy: Strategy) -> str:
        """
        Return the adapter that a strategy runs on, '' for the base.

        Raises:
            CheckpointError: It needs two at once, or one that is not there.
        """
        wanted = [n.removeprefix('recipe:') for n in sorted(strategy.needs) if n in RECIPES]
        if len(wanted) > 1:
            msg = f"strategy '{strategy.name}' needs two adapters at once: {' and '.join(wanted)}"
            raise CheckpointError(msg)
        name = wanted[0] if wanted else ''
        if name and name not in self.recipes:
            if f'recipe:{name}' in self.base.offers:
                return ''
            have = ', '.join(self.recipes) or 'none'
            raise CheckpointError(f"{self.path} has no recipe '{name}'. It has: {have}")
        return name

    def policy_for(
        self, strategy: Strategy, device: torch.device | str = 'cpu'
    ) -> FlowPolicy | ChunkPolicy:
        """Load the base once, and the adapter that a strategy runs on; imports lerobot."""
        from async_chunking.policies.base import FlowPolicy
        from async_chunking.policies.lerobot.adapters import WEIGHTS, AdaptedFlow, Adapters

        name = self.recipe_for(strategy)
        if self._flow is None:
            self._flow = self.base.policy_for(strategy, device)
            self._adapters = Adapters(self._flow.networks()[0])
        assert self._adapters is not None
        assert isinstance(self._flow, FlowPolicy)
        if name not in self._policies:
            if name:
                folder = self.path / name
                content = _content(folder / WEIGHTS, self.recipes[name].weights_sha256)
                self._adapters.load(name, folder, content)
            policy = AdaptedFlow(self._flow, self._adapters, name)
            policy.offers = self.offers
            self._policies[name] = policy
        return self._policies[name]

    def digest(self, strategy: Strategy) -> str:
        """Return the hash of the adapter's weights, or of the base's."""
        name = self.recipe_for(strategy)
        return self.recipes[name].weights_sha256 if name else self.base.weights_digest


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a LeRobot checkpoint that says how it moves, by name."""
    files = [folder / 'config.json', folder / 'model.safetensors']
    files += sorted(folder.glob('policy_*processor*'))
    digest_of = {}
    for file in files:
        digest = hashlib.sha256()
        with file.open('rb') as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        digest_of[file.name] = digest.hexdigest()
    return digest_of


def write_base(folder: Path, base: Path) -> None:
    """
    Say in a folder what its recipes are trained on.

    Raises:
        CheckpointError: It says so already, and of another base.
    """
    named = Base(base=str(base.resolve()), files=digests(base))
    file = folder / NAMED
    if file.is_file():
        before = validated(Base, _read(file), file)
        if before.files != named.files:
            msg = f'{file}: the folder holds recipes of {before.base}; name another --out'
            raise CheckpointError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    write_files({file: (named.model_dump_json(indent=1) + '\n').encode()})


def _found(base: str, folder: Path) -> Path:
    """Return the folder of the base, which may have moved along with that of the recipes."""
    for path in (Path(base), folder / base, folder.parent / Path(base).name):
        if (path / 'config.json').is_file():
            return path
    msg = f'{folder / NAMED}: base is {base}, and no checkpoint is there; write where it is now'
    raise CheckpointError(msg)


def _content(file: Path, digest: str) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f'{file}: {error.strerror}; train the recipe again') from error
    if sha256(content) != digest:
        msg = f'{file}: it is torn, or of another recipe than {file.parent.name}.json beside it '
        raise CheckpointError(msg + 'says; restore both from one source')
    return content


def _read(file: Path) -> Any:
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{file}: not a readable JSON file ({error})') from error
