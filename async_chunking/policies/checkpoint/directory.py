# SPDX-License-Identifier: Apache-2.0
"""
A folder of checkpoints of one task, by recipe: which strategies can it serve? Never imports torch.

The folder holds `flow.safetensors` and `flow.json`, and what further recipes made. What it offers
is read from the JSON files alone, so executor and launch files may ask too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from async_chunking.policies.checkpoint.shipped import SHIPPED, policy_directory
from async_chunking.policies.checkpoint.sidecar import CheckpointError, Sidecar, read_sidecar
from async_chunking.policies.source import BY_SAMPLER, PolicySource, PolicySpec
from async_chunking.strategies import CORRECTORS, RECIPES, Strategy

if TYPE_CHECKING:
    import torch

    from async_chunking.correctors.a2c2 import A2C2
    from async_chunking.policies.base import ChunkPolicy, FlowPolicy
    from async_chunking.policies.networks.network import NetworkPolicy

FLOW_ARCHITECTURES = frozenset({'mixer', 'transformer'})
BASES = ('flow', 'act')  # What a strategy runs that asks for no recipe; the first one there.
_ALSO = {'act': 'remac_act'}  # Checkpoint -> another recipe that makes it.


class PolicyDirectory(PolicySource):
    """
    The checkpoints of one task.

    Attributes:
        path: The folder.
        sidecars: Recipe -> what its checkpoint says about itself.

    Raises:
        CheckpointError: The folder has no checkpoint, one is not of the recipe that its name
            says, or they disagree about the robot or the shape of a chunk.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        files = sorted(self.path.glob('*.safetensors'))
        names = [file.stem for file in files if not file.stem.endswith('.state')]
        if not names:
            msg = f'{self.path} holds no checkpoint (*.safetensors with *.json). Train one first'
            raise CheckpointError(msg)
        self.sidecars: dict[str, Sidecar] = {
            name: read_sidecar(self.path / name) for name in names
        }
        for name, sidecar in self.sidecars.items():
            if sidecar.recipe not in (name, _ALSO.get(name)):
                msg = f"{self.path / name}.json: recipe = '{sidecar.recipe}', in a file named "
                raise CheckpointError(msg + f"'{name}'; give it back its name")
        for key in ('robot', 'joint_names', 'policy_rate_hz'):
            self._agree(key, {n: getattr(s, key) for n, s in self.sidecars.items()})
        for key in ('horizon', 'action_dim'):
            self._agree(key, {n: s.architecture.get(key) for n, s in self.sidecars.items()})

    def _agree(self, key: str, values: dict[str, object]) -> None:
        if len(set(values.values())) > 1:
            listed = ', '.join(f'{name}: {value}' for name, value in values.items())
            msg = f'{self.path}: the checkpoints disagree about {key} ({listed}); separate them'
            raise CheckpointError(msg)

    @property
    def title(self) -> str:
        """The folder."""
        return str(self.path)

    @property
    def base(self) -> str:
        """Recipe that serves strategies which ask for none."""
        bases = [name for name in BASES if name in self.sidecars]
        if not bases:
            msg = f'{self.path} has {", ".join(self.sidecars)} but no base: {" or ".join(BASES)}'
            raise CheckpointError(msg)
        return bases[0]

    @property
    def _any(self) -> Sidecar:
        """One of the checkpoints, for what all of them agree about."""
        return next(iter(self.sidecars.values()))

    @property
    def horizon(self) -> int:
        """Rows of a chunk [steps]."""
        return self._any.architecture['horizon']

    @property
    def action_dim(self) -> int:
        """Columns of a chunk."""
        return self._any.architecture['action_dim']

    @property
    def offers(self) -> frozenset[str]:
        """Names of `strategies.NEEDS` that a strategy may rely on."""
        offers = {f'corrector:{name}' for name in self.sidecars} & CORRECTORS
        offers |= RECIPES & {f'recipe:{name}' for name in self.sidecars}
        if 'weak' in self.sidecars:
            offers.add('weak_policy')
        if self.sidecars[self.base].architecture.get('name') in FLOW_ARCHITECTURES:
            offers |= {'velocity', 'gradients', 'per_token_time'}
        return frozenset(offers)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joint of each column of a chunk."""
        return self._any.joint_names

    @property
    def anchored(self) -> bool:
        """Whether actions are counted from the measured joints."""
        return any(s.normalization.actions == 'relative' for s in self.sidecars.values())

    @property
    def policy_rate_hz(self) -> float:
        """Rows of a chunk per second."""
        return self._any.policy_rate_hz

    @property
    def delays(self) -> dict[str, tuple[int, int]]:
        """What the training of each recipe knew [steps]."""
        known = {f'recipe:{name}': s.delay_range for name, s in self.sidecars.items()}
        return {need: known[need] for need in RECIPES if known.get(need)}

    @property
    def expects(self) -> dict[str, tuple[int, ...]]:
        """What any of the policies reads of a robot."""
        read = (s.architecture.get('observation', ()) for s in self.sidecars.values())
        return {name: (size,) for pairs in read for name, size in pairs if name not in BY_SAMPLER}

    def digest(self, strategy: Strategy) -> str:
        """Return the hash of the checkpoint that a strategy runs on."""
        return self.sidecars[self.recipe_for(strategy)].weights_sha256

    def recipe_for(self, strategy: Strategy) -> str:
        """
        Return the recipe whose checkpoint a strategy runs on.

        Raises:
            CheckpointError: It is not there.
        """
        wanted = [need.removeprefix('recipe:') for need in strategy.needs & RECIPES]
        name = wanted[0] if wanted else self.base
        self._require(name)
        return name

    def policy_for(
        self, strategy: Strategy, device: torch.device | str = 'cpu'
    ) -> FlowPolicy | ChunkPolicy:
        """Load the policy that a strategy runs on; imports torch."""
        return self.load(self.recipe_for(strategy), device)

    def weak_policy(self, device: torch.device | str = 'cpu') -> FlowPolicy:
        """Load the weaker policy that BID compares with; imports torch."""
        return self.load('weak', device)

    def load(self, recipe: str, device: torch.device | str = 'cpu') -> NetworkPolicy:
        """Load a policy by recipe; imports torch."""
        from async_chunking.policies.checkpoint.weights import load_policy

        self._require(recipe)
        policy = load_policy(self.path / recipe, device)
        policy.offers = self.offers
        return policy

    def corrector(self, name: str = 'a2c2') -> A2C2:
        """Load a corrector by name; numpy only."""
        self._require(name)
        return load_corrector(str(self.path), name)

    def _require(self, recipe: str) -> None:
        if recipe not in self.sidecars:
            msg = f"{self.path} has no checkpoint '{recipe}'. It has: {', '.join(self.sidecars)}"
            raise CheckpointError(msg)


def corrector_offers(path: str) -> frozenset[str]:
    """Return the correctors in a folder, as what a strategy may rely on; none if there is none."""
    folder = SHIPPED / path if path and (SHIPPED / path).is_dir() else Path(path)
    names = {need: need.removeprefix('corrector:') for need in CORRECTORS} if path else {}
    return frozenset(need for need, name in names.items() if (folder / f'{name}.json').is_file())


def load_corrector(path: str, name: str) -> A2C2:
    """Load a corrector from a folder, or from the shipped policy of that name; numpy only."""
    from async_chunking.correctors.a2c2 import load_a2c2

    return load_a2c2(policy_directory(path) / name)


def open_policy(spec: PolicySpec) -> PolicyDirectory:
    """Return the folder at a path, or the robot's own if none is given."""
    return PolicyDirectory(policy_directory(spec.options.policy_path or spec.robot.policy.path))
