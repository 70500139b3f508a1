# SPDX-License-Identifier: Apache-2.0
"""What a strategy is: one choice on each of three axes, and the constants that were set."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from async_chunking.errors import StrategyError
from async_chunking.strategies.constants import Constant, Value, declared

if TYPE_CHECKING:
    from async_chunking.mergers import Merger
    from async_chunking.samplers.base import Sampler


@dataclass(frozen=True)
class SamplerEntry:
    """
    A sampler by name, so that the executor process never loads torch.

    Attributes:
        entry: 'module:Class' under `async_chunking.samplers`.
        needs: What a policy must offer; see `NEEDS`.
        calls: Velocity evaluations per chunk; n = num_steps, N = samples, k = iterations.
        paper: Where it is described.
        options: Constructor arguments that make this variant.
        backward: Backward passes through the policy per chunk, in the same terms.
        reads_states: It takes the rows of the old plan for states of the robot.
        keeps_committed: The answer begins with the committed rows; a whole chunk follows.
    """

    entry: str
    needs: frozenset[str]
    calls: str
    paper: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    backward: str = '0'
    reads_states: bool = False
    keeps_committed: bool = False

    def load(self, **options: Any) -> Any:
        """Build the sampler; imports torch. `options` override this variant's."""
        module, _, name = self.entry.partition(':')
        cls = getattr(importlib.import_module(f'async_chunking.samplers.{module}'), name)
        return cls(**{**self.options, **options})


PLAIN = SamplerEntry('plain:Plain', frozenset(), 'n', 'arXiv 2210.02747')
"""The sampler of every strategy that changes only how chunks are joined or corrected."""


@dataclass(frozen=True)
class Strategy:
    """
    A named point: one choice on each axis.

    Attributes:
        summary: What it does, in a few words.
        sampler: How a chunk is drawn.
        merger: Name in `mergers.MERGERS`.
        corrector: Name of its recipe, or 'none'.
        paper: Where merger or corrector are described; the sampler's entry has its own.
        constants: Name and value of those that differ from their defaults.
    """

    name: str
    summary: str = ''
    sampler: SamplerEntry = PLAIN
    merger: str = 'switch'
    corrector: str = 'none'
    paper: str = ''
    constants: tuple[tuple[str, str], ...] = ()

    @property
    def needs(self) -> frozenset[str]:
        """What the policy must offer for it."""
        needs = self.sampler.needs
        return needs if self.corrector == 'none' else needs | {f'corrector:{self.corrector}'}

    @property
    def adds_rows(self) -> bool:
        """Whether it takes the rows of the old plan for changes of the state."""
        return self.sampler.reads_states and self.sampler_constants['mode'] == 'delta'

    def rows(self, horizon: int, committed: int) -> int:
        """
        Return the rows of an answer.

        Args:
            horizon: Rows of the policy's chunk.
            committed: Rows of the old plan that are executed meanwhile.

        Raises:
            StrategyError: A constant cannot have its value.
        """
        quantization = int(self.sampler_constants.get('quantization', 1))
        return horizon // quantization + (committed if self.sampler.keeps_committed else 0)

    @property
    def rests(self) -> bool:
        """Whether the robot rests while it waits for a chunk."""
        return self._merger().waits

    @property
    def sampler_constants(self) -> Mapping[str, Value]:
        """Every constant of the sampler: as set, else this variant's, else its default.

        Raises:
            StrategyError: A constant cannot have its value, or sampler and merger have none such.
        """
        known = {
            name: constant._replace(default=self.sampler.options.get(name, constant.default))
            for name, constant in declared(self.sampler.entry).items()
        }
        of_merger = constants(self._merger())
        mine = {name: text for name, text in self.constants if name not in of_merger}
        values = {name: constant.default for name, constant in known.items()}
        return values | self._read(known, mine)

    def load_sampler(self) -> Sampler:
        """Build the sampler with the constants that the merger does not have; imports torch.

        Raises:
            StrategyError: See `sampler_constants`.
        """
        return self.sampler.load(**self.sampler_constants)

    def load_merger(self) -> Merger:
        """Build the merger with its constants.

        Raises:
            StrategyError: A value is not of its kind.
        """
        merger = self._merger()
        known = {name: Constant(value) for name, value in constants(merger).items()}
        mine = {name: text for name, text in self.constants if name in known}
        return replace(merger, **self._read(known, mine))

    def _read(self, known: Mapping[str, Constant], texts: Mapping[str, str]) -> dict[str, Value]:
        """Return constants given as text as what they are."""
        values: dict[str, Value] = {}
        for name, text in texts.items():
            if name not in known:
                listed = ', '.join(f'{key}={c.default}' for key, c in known.items()) or 'none'
                msg = f"strategy '{self.name}' has no constant '{name}'; it has {listed}"
                raise StrategyError(msg)
            try:
                values[name] = known[name].read(text)
            except ValueError as error:
                msg = f"strategy '{self.name}': {name} must be {error}, not '{text}'"
                raise StrategyError(msg) from None
        return values

    def _merger(self) -> Merger:
        from async_chunking.mergers import MERGERS

        return MERGERS[self.merger]()


def constants(value: Any) -> dict[str, Value]:
    """Return the constants of a sampler or merger that a strategy's name can set."""
    values = {f.name: getattr(value, f.name) for f in fields(value)}
    return {name: v for name, v in values.items() if isinstance(v, Value)}
