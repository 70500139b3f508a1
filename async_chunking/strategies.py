# SPDX-License-Identifier: Apache-2.0
"""
The table of strategies: name -> sampler, merger, corrector, what it needs, its cost, its paper.

A strategy is a point in a small product: how a chunk is drawn (sampler, in the policy node), how
it joins the stream (merger) and what is added to each action (corrector, both in the executor).
`strategy:=paint` names one; `strategy:=paint+a2c2` combines what two of them change. Numpy tier:
samplers are named here and imported only where they run.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from async_chunking.errors import AsyncChunkingError


class StrategyError(AsyncChunkingError):
    """A strategy is unknown, contradicts itself, or asks more than the policy offers."""


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
    """

    name: str
    sampler: str = 'plain'
    merger: str = 'switch'
    corrector: str = 'none'
    summary: str = ''
    paper: str = ''

    @property
    def needs(self) -> frozenset[str]:
        """What the policy must offer for it."""
        needs = SAMPLERS[self.sampler].needs
        return needs if self.corrector == 'none' else needs | {f'corrector:{self.corrector}'}


# Why each need exists, to complete the sentence "<strategy> needs ...".
NEEDS: dict[str, str] = {
    'velocity': 'the velocity of a flow policy; run the policy node on the host of the model',
    'gradients': 'gradients through the policy; this one is compiled or has none',
    'per_token_time': 'a network that takes one flow time per action row',
    'weak_policy': 'a weaker checkpoint of the same policy, weak.safetensors beside it',
    'recipe:tt_rtc': 'a checkpoint trained with the recipe tt_rtc',
    'recipe:remac': 'a checkpoint trained with the recipe remac',
    'recipe:vlash': 'a checkpoint trained with the recipe vlash',
    'corrector:a2c2': 'a correction head trained with the recipe a2c2',
}

_VELOCITY = frozenset({'velocity'})
_GRADIENTS = frozenset({'velocity', 'gradients'})
_TT_RTC = frozenset({'velocity', 'per_token_time', 'recipe:tt_rtc'})
_REMAC = frozenset({'velocity', 'recipe:remac'})

_ACT = 'arXiv 2304.13705'
_BID = 'arXiv 2408.17355'
_RTC = 'arXiv 2506.07339'
_PAINT = 'arXiv 2606.19774'

SAMPLERS: dict[str, SamplerEntry] = {
    'plain': SamplerEntry('plain:Plain', frozenset(), 'n', 'arXiv 2210.02747'),
    'rtc': SamplerEntry('rtc:Rtc', _GRADIENTS, 'n', _RTC, backward='n'),
    'rtc_identity': SamplerEntry('rtc:Rtc', _VELOCITY, 'n', 'LeRobot', {'jacobian': False}),
    'paint': SamplerEntry('paint:Paint', _VELOCITY, '3·n', _PAINT),
    'paint_dpm2': SamplerEntry('paint:PaintDpm2', _VELOCITY, '4·n', _PAINT),
    'paint_rfm': SamplerEntry('paint:PaintRfm', _VELOCITY, '2·n+1', _PAINT),
    'paint_optim': SamplerEntry('paint:PaintOptim', _GRADIENTS, '(k+2)·n', _PAINT, backward='k·n'),
    'paint_slide': SamplerEntry('paint:PaintSlide', _VELOCITY, 'n', _PAINT),
    'bid': SamplerEntry('bid:Bid', _VELOCITY, 'N·n', _BID),
    'bid_full': SamplerEntry('bid:BidFull', _VELOCITY | {'weak_policy'}, '2·N·n', _BID),
    'tt_rtc': SamplerEntry('tt_rtc:TtRtc', _TT_RTC, 'n', 'arXiv 2512.05964'),
    'remac': SamplerEntry('remac:Remac', _REMAC, 'n', 'arXiv 2601.20130'),
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
        Strategy('rtc', 'rtc', summary='steer every solver step towards the old plan'),
        Strategy('rtc_identity', 'rtc_identity', summary='rtc without the Jacobian'),
        Strategy('paint', 'paint', summary='choose the noise that begins as the old plan'),
        Strategy('paint_dpm2', 'paint_dpm2', summary='paint, inverted by midpoint steps'),
        Strategy('paint_rfm', 'paint_rfm', summary='paint, inverted in one step'),
        Strategy('paint_optim', 'paint_optim', summary='paint, inverted by gradient descent'),
        Strategy('paint_slide', 'paint_slide', summary='paint once, then reuse its noise'),
        Strategy('bid', 'bid', summary='draw many chunks, keep the nearest to the old plan'),
        Strategy('bid_full', 'bid_full', summary='bid, and far from what a weak policy draws'),
        Strategy('tt_rtc', 'tt_rtc', summary='show the executed rows as finished actions'),
        Strategy('remac', 'remac', summary='hold the executed rows while drawing the others'),
        Strategy('vlash', 'vlash', summary='ask from the state in which the chunk takes over'),
        Strategy(
            'a2c2',
            corrector='a2c2',
            summary='correct each action by the newest state',
            paper='arXiv 2509.23224',
        ),
    )
}


def resolve(name: str) -> Strategy:
    """
    Return the strategy for a name or a '+' combination.

    Each part sets the axes in which it differs from `naive`. Two samplers combine only where the
    table has them, under their names joined by '+' in either order.

    Raises:
        StrategyError: A part is unknown, or two parts set the same axis.
    """
    axes: dict[str, list[str]] = {'sampler': [], 'merger': [], 'corrector': []}
    default = Strategy('')
    for part in name.split('+'):
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
    return Strategy(name, **{axis: chosen[0] for axis, chosen in axes.items() if chosen})


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


def _unknown(part: str) -> str:
    close = difflib.get_close_matches(part, STRATEGIES, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ''
    return f"unknown strategy '{part}'.{hint} Choices: {', '.join(STRATEGIES)}, joined by '+'"
