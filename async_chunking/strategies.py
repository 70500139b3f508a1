# SPDX-License-Identifier: Apache-2.0
"""
The table of strategies: name -> sampler, merger, corrector, what it needs, its cost, its paper.

A strategy is a point in a small product: how a chunk is drawn (sampler, in the policy node), how
it joins the stream (merger) and what is added to each action (corrector, both in the executor).
`strategy:=paint` names one; `strategy:=paint+a2c2` combines what two of them change;
`strategy:=paint:grid=departure:num_steps=10` sets constants of one. Numpy tier: samplers are named
here and imported only where they run.
"""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from async_chunking.errors import StrategyError

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
    """

    entry: str
    needs: frozenset[str]
    calls: str
    paper: str
    options: Mapping[str, Any] = field(default_factory=dict)
    backward: str = '0'

    def load(self, **options: Any) -> Any:
        """Build the sampler; imports torch. `options` override this variant's."""
        module, _, name = self.entry.partition(':')
        cls = getattr(importlib.import_module(f'async_chunking.samplers.{module}'), name)
        return cls(**{**self.options, **options})


@dataclass(frozen=True)
class Strategy:
    """
    A named point: one choice on each axis.

    Attributes:
        summary: What it does, in a few words.
        paper: Where merger or corrector are described; the sampler's entry has its own.
        constants: Name and value of those that differ from their defaults.
    """

    name: str
    sampler: str = 'plain'
    merger: str = 'switch'
    corrector: str = 'none'
    summary: str = ''
    paper: str = ''
    constants: tuple[tuple[str, str], ...] = ()

    @property
    def needs(self) -> frozenset[str]:
        """What the policy must offer for it."""
        needs = SAMPLERS[self.sampler].needs
        return needs if self.corrector == 'none' else needs | {f'corrector:{self.corrector}'}

    def load_sampler(self) -> Sampler:
        """Build the sampler with the constants that the merger does not have; imports torch.

        Raises:
            StrategyError: It has no such constant, or not such a value.
        """
        of_merger = constants(self._merger())
        mine = {name: text for name, text in self.constants if name not in of_merger}
        return _with(SAMPLERS[self.sampler].load(), mine, self)

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


# Why each need exists, to complete the sentence "<strategy> needs ...".
NEEDS: dict[str, str] = {
    'velocity': 'the velocity of a flow policy; run the policy node on the host of the model',
    'gradients': 'gradients through the policy; this one is compiled or has none',
    'per_token_time': 'a network that takes one flow time per action row',
    'weak_policy': 'a weaker checkpoint of the same policy, weak.safetensors beside it',
    'recipe:tt_rtc': 'a checkpoint trained with the recipe tt_rtc',
    'recipe:remac': 'a checkpoint trained with the recipe remac',
    'recipe:remac_paired': 'a checkpoint trained with the recipe remac_paired',
    'recipe:vlash': 'a checkpoint trained with the recipe vlash',
    'corrector:a2c2': 'a correction head trained with the recipe a2c2',
    'corrector:a2c2_paired': 'a correction head trained with the recipe a2c2_paired',
}

RECIPES = frozenset(need for need in NEEDS if need.startswith('recipe:'))
CORRECTORS = frozenset(need for need in NEEDS if need.startswith('corrector:'))

_VELOCITY = frozenset({'velocity'})
_GRADIENTS = frozenset({'velocity', 'gradients'})
_TT_RTC = frozenset({'velocity', 'per_token_time', 'recipe:tt_rtc'})
_REMAC = frozenset({'velocity', 'recipe:remac'})

_ACT = 'arXiv 2304.13705'
_BID = 'arXiv 2408.17355'
_RTC = 'arXiv 2506.07339'
_PAINT = 'arXiv 2606.19774'
_OWN = 'variant of this package'

SAMPLERS: dict[str, SamplerEntry] = {
    'plain': SamplerEntry('plain:Plain', frozenset(), 'n', 'arXiv 2210.02747'),
    'shift': SamplerEntry('shift:Shift', _VELOCITY, 'n', _OWN),
    'rtc': SamplerEntry('rtc:Rtc', _GRADIENTS, 'n', _RTC, backward='n'),
    'rtc_identity': SamplerEntry('rtc:Rtc', _VELOCITY, 'n', 'LeRobot', {'jacobian': False}),
    'rtc_lean': SamplerEntry(
        'rtc:Rtc', _GRADIENTS, 'n', _OWN, {'jacobian_until': 0.4}, backward='0.4·n'
    ),
    'paint': SamplerEntry('paint:Paint', _VELOCITY, '3·n', _PAINT),
    'paint_lean': SamplerEntry(
        'paint:Paint', _VELOCITY, 'n+4', _OWN, {'naive_steps': 2, 'inversion_steps': 2}
    ),
    'paint_dpm2': SamplerEntry('paint:PaintDpm2', _VELOCITY, '4·n', _PAINT),
    'paint_rfm': SamplerEntry('paint:PaintRfm', _VELOCITY, '2·n+1', _PAINT),
    'paint_optim': SamplerEntry('paint:PaintOptim', _GRADIENTS, '(k+2)·n', _PAINT, backward='k·n'),
    'paint_slide': SamplerEntry('paint:PaintSlide', _VELOCITY, 'n', _PAINT),
    'bid': SamplerEntry('bid:Bid', _VELOCITY, 'N·n', _BID),
    'bid_full': SamplerEntry('bid:BidFull', _VELOCITY | {'weak_policy'}, '2·N·n', _BID),
    'bid_early': SamplerEntry('early:BidEarly', _VELOCITY | {'weak_policy'}, '4·N+n', _OWN),
    'tt_rtc': SamplerEntry('tt_rtc:TtRtc', _TT_RTC, 'n', 'arXiv 2512.05964'),
    'remac': SamplerEntry('remac:Remac', _REMAC, 'n', 'arXiv 2601.20130'),
    'remac_paired': SamplerEntry('remac:Remac', _VELOCITY | {'recipe:remac_paired'}, 'n', _OWN),
    'vlash': SamplerEntry('vlash:Vlash', _VELOCITY | {'recipe:vlash'}, 'n', 'arXiv 2512.01031'),
    'paint+tt_rtc': SamplerEntry('combinations:PaintTtRtc', _TT_RTC, '3·n', _PAINT),
    'remac+bid': SamplerEntry('combinations:remac_bid', _REMAC, 'N·n', 'arXiv 2601.20130'),
    'remac+rtc': SamplerEntry(
        'combinations:remac_rtc', _REMAC | {'gradients'}, 'n', 'arXiv 2601.20130', backward='n'
    ),
}

STRATEGIES: dict[str, Strategy] = {
    s.name: s
    for s in (
        Strategy('sync', merger='wait', summary='rest while the policy computes'),
        Strategy('naive', summary='switch to the new chunk as it comes'),
        Strategy('ensemble', merger='ensemble', summary='average overlapping chunks', paper=_ACT),
        Strategy(
            'bspline', merger='bspline', summary='refit the chunk with a B-spline', paper=_PAINT
        ),
        Strategy('shift', 'shift', summary='draw from the last noise, shifted with the plan'),
        Strategy('rtc', 'rtc', summary='steer every solver step towards the old plan'),
        Strategy('rtc_identity', 'rtc_identity', summary='rtc without the Jacobian'),
        Strategy('rtc_lean', 'rtc_lean', summary='rtc with its Jacobian in the first steps only'),
        Strategy('paint', 'paint', summary='choose the noise that begins as the old plan'),
        Strategy('paint_lean', 'paint_lean', summary='paint, its noise sought in few steps'),
        Strategy('paint_dpm2', 'paint_dpm2', summary='paint, inverted by midpoint steps'),
        Strategy('paint_rfm', 'paint_rfm', summary='paint, inverted in one step'),
        Strategy('paint_optim', 'paint_optim', summary='paint, inverted by gradient descent'),
        Strategy('paint_slide', 'paint_slide', summary='paint once, then reuse its noise'),
        Strategy('bid', 'bid', summary='draw many chunks, keep the nearest to the old plan'),
        Strategy('bid_full', 'bid_full', summary='bid, and far from what a weak policy draws'),
        Strategy('bid_early', 'bid_early', summary='bid_full, judged by rough chunks'),
        Strategy('tt_rtc', 'tt_rtc', summary='show the executed rows as finished actions'),
        Strategy('remac', 'remac', summary='hold the executed rows while drawing the others'),
        Strategy('remac_paired', 'remac_paired', summary='remac, trained on one way at a time'),
        Strategy('vlash', 'vlash', summary='ask from the state in which the chunk takes over'),
        Strategy(
            'a2c2',
            corrector='a2c2',
            summary='correct each action by the newest state',
            paper='arXiv 2509.23224',
        ),
        Strategy(
            'a2c2_paired',
            corrector='a2c2_paired',
            summary='a2c2, trained on one way at a time',
            paper=_OWN,
        ),
    )
}


NAMES = (*STRATEGIES, *(name for name in SAMPLERS if '+' in name))
"""Every strategy, and the combinations that are samplers of their own."""


def resolve(name: str) -> Strategy:
    """
    Return the strategy for a name or a '+' combination.

    Each part sets the axes in which it differs from `naive`. Two samplers combine only where the
    table has them, under their names joined by '+' in either order. A part may set constants:
    `rtc:schedule=linear:max_guidance_weight=10`.

    Raises:
        StrategyError: A part is unknown, two parts set the same axis, or a constant is written
            wrongly. Whether it exists is known when it is loaded.
    """
    axes: dict[str, list[str]] = {'sampler': [], 'merger': [], 'corrector': []}
    default = Strategy('')
    constants: dict[str, str] = {}
    for part, *settings in (part.split(':') for part in name.split('+')):
        for setting in settings:
            key, equals, text = setting.partition('=')
            if not (key and equals and text) or key in constants:
                msg = f"strategy '{name}': write each constant once, as {part}:name=value, "
                raise StrategyError(msg + f"not '{setting}'")
            constants[key] = text
        if part not in STRATEGIES:
            raise StrategyError(_unknown(part))
        for axis, chosen in axes.items():
            value = getattr(STRATEGIES[part], axis)
            if value != getattr(default, axis) and value not in chosen:
                chosen.append(value)
    samplers = axes['sampler']
    if len(samplers) > 1:
        joined = ['+'.join(samplers), '+'.join(reversed(samplers))]
        known = [key for key in joined if key in SAMPLERS]
        if not known:
            pairs = ', '.join(sorted(key for key in SAMPLERS if '+' in key)) or 'none'
            msg = f"strategy '{name}': samplers that combine are {pairs}"
            raise StrategyError(msg)
        axes['sampler'] = known[:1]
    for axis, chosen in axes.items():
        if len(chosen) > 1:
            msg = f"strategy '{name}' sets the {axis} twice: {' and '.join(chosen)}; keep one"
            raise StrategyError(msg)
    chosen_axes = {axis: chosen[0] for axis, chosen in axes.items() if chosen}
    return Strategy(name, **chosen_axes, constants=tuple(constants.items()))


def check(strategy: Strategy, offers: Collection[str]) -> None:
    """
    Refuse a strategy that a policy cannot serve, before the robot moves.

    Args:
        strategy: Resolved.
        offers: Names of `NEEDS` that the policy's checkpoints offer.

    Raises:
        StrategyError: Something is missing; the message says what, and which strategies can run.
    """
    missing = sorted(strategy.needs - set(offers))
    if missing:
        possible = ', '.join(n for n, s in STRATEGIES.items() if s.needs <= set(offers))
        reasons = '; '.join(NEEDS[need] for need in missing)
        msg = f"strategy '{strategy.name}' needs {reasons}. This policy can run: {possible}"
        raise StrategyError(msg)


def constants(value: Any) -> dict[str, bool | int | float | str]:
    """Return the constants of a sampler or merger that a strategy's name can set."""
    found = {f.name: getattr(value, f.name) for f in fields(value)}
    return {name: v for name, v in found.items() if isinstance(v, bool | int | float | str)}


def _with(value: Any, texts: Mapping[str, str], strategy: Strategy) -> Any:
    """Return a sampler or merger with constants given as text."""
    known, changed = constants(value), {}
    for name, text in texts.items():
        if name not in known:
            listed = ', '.join(f'{key}={default}' for key, default in known.items()) or 'none'
            msg = f"strategy '{strategy.name}' has no constant '{name}'; it has {listed}"
            raise StrategyError(msg)
        kind = type(known[name])
        try:
            changed[name] = {'true': True, 'false': False}[text] if kind is bool else kind(text)
            allowed = kind is str or 0 <= changed[name] < math.inf
        except (ValueError, KeyError):
            allowed = False
        if not allowed:
            words = {bool: 'true or false', int: 'a whole number from 0', float: 'a number from 0'}
            msg = f"strategy '{strategy.name}': {name} must be {words[kind]}, not '{text}'"
            raise StrategyError(msg)
    return replace(value, **changed)


def _unknown(part: str) -> str:
    close = difflib.get_close_matches(part, STRATEGIES, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ''
    return f"unknown strategy '{part}'.{hint} Choices: {', '.join(STRATEGIES)}, joined by '+'"
