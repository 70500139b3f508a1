# SPDX-License-Identifier: Apache-2.0
"""What a strategy is: one choice on each of three axes, and the constants that were set."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from async_chunking.errors import StrategyError
from async_chunking.strategies.constants import CHOICES, CONSTANTS, LEAST, MOST

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
        return self.sampler.reads_states and dict(self.constants).get('mode') == 'delta'

    def rows(self, horizon: int, committed: int) -> int:
        """
        Return the rows of an answer.

        Args:
            horizon: Rows of the policy's chunk.
            committed: Rows of the old plan that are executed meanwhile.

        Raises:
            StrategyError: The constant `quantization`, rows that become one, is no such number.
        """
        text = dict(self.constants).get('quantization', '1')
        quantization = int(text) if text.isdecimal() else 0
        if quantization < 1:
            msg = f"strategy '{self.name}': quantization must be 1 or more rows, not '{text}'"
            raise StrategyError(msg)
        return horizon // quantization + (committed if self.sampler.keeps_committed else 0)

    @property
    def rests(self) -> bool:
        """Whether the robot rests while it waits for a chunk."""
        return self._merger().waits

    def check_constants(self) -> None:
        """Refuse what a sampler or merger does not have; imports no torch.

        Raises:
            StrategyError: There is no such constant, or it cannot have such a value.
        """
        of_merger = constants(self.load_merger())
        mine = {name: text for name, text in self.constants if name not in of_merger}
        known = {**CONSTANTS[self.sampler.entry], **self.sampler.options}
        for name, value in _parsed(known, mine, self).items():
            choices, least = CHOICES.get(name, (value,)), LEAST.get(name, value)
            if value not in choices or value < least:
                allowed = ', '.join(map(str, choices)) if name in CHOICES else f'{least} or more'
                msg = f"strategy '{self.name}': {name} must be {allowed}, not '{value}'"
                raise StrategyError(msg)

    def load_sampler(self) -> Sampler:
        """Build the sampler with the constants that the merger does not have; imports torch.

        Raises:
            StrategyError: It has no such constant, or not such a value.
        """
        of_merger = constants(self._merger())
        mine = {name: text for name, text in self.constants if name not in of_merger}
        return _with(self.sampler.load(), mine, self)

    def load_merger(self) -> Merger:
        """Build the merger with its constants.

        Raises:
            StrategyError: A value is not of its kind.
        """
        merger = self._merger()
        mine = {name: text for name, text in self.constants if name in constants(merger)}
        return _with(merger, mine, self)

    def _merger(self) -> Merger:
        from async_chunking.mergers import MERGERS

        return MERGERS[self.merger]()


def constants(value: Any) -> dict[str, bool | int | float | str]:
    """Return the constants of a sampler or merger that a strategy's name can set."""
    values = {f.name: getattr(value, f.name) for f in fields(value)}
    return {name: v for name, v in values.items() if isinstance(v, bool | int | float | str)}


def _with(value: Any, texts: Mapping[str, str], strategy: Strategy) -> Any:
    """Return a sampler or merger with constants given as text."""
    return replace(value, **_parsed(constants(value), texts, strategy))


def _parsed(
    known: Mapping[str, Any], texts: Mapping[str, str], strategy: Strategy
) -> dict[str, Any]:
    """Return constants given as text as what they are, by their defaults."""
    changed: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in known:
            listed = ', '.join(f'{key}={default}' for key, default in known.items()) or 'none'
            msg = f"strategy '{strategy.name}' has no constant '{name}'; it has {listed}"
            raise StrategyError(msg)
        kind = type(known[name])
        try:
            changed[name] = {'true': True, 'false': False}[text] if kind is bool else kind(text)
            allowed = kind is str or 0 <= changed[name] <= MOST
        except (ValueError, KeyError):
            allowed = False
        if not allowed:
            number = {int: 'a whole number', float: 'a number'}.get(kind)
            wanted = f'{number} from 0 to {MOST}' if number else 'true or false'
            msg = f"strategy '{strategy.name}': {name} must be {wanted}, not '{text}'"
            raise StrategyError(msg)
    return changed
