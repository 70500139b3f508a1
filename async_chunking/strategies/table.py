# SPDX-License-Identifier: Apache-2.0
"""The table of strategies; adding one is one line here."""

from __future__ import annotations

from async_chunking.strategies.strategy import PLAIN, SamplerEntry, Strategy

_VELOCITY = frozenset({'velocity'})
_GRADIENTS = frozenset({'velocity', 'gradients'})
_TT_RTC = frozenset({'velocity', 'per_token_time', 'recipe:tt_rtc'})
_REMAC = frozenset({'velocity', 'recipe:remac'})
_WEAK = frozenset({'velocity', 'weak_policy'})

_ACT = 'arXiv 2304.13705'
_BID = 'arXiv 2408.17355'
_RTC = 'arXiv 2506.07339'
_PAINT = 'arXiv 2606.19774'
_REMAC_PAPER = 'arXiv 2601.20130'
_OWN = 'variant of this package'

# fmt: off
_TABLE = (
    Strategy('sync', 'rest while the policy computes', merger='wait'),
    Strategy('naive', 'switch to the new chunk as it comes'),
    Strategy('ensemble', 'average overlapping chunks', merger='ensemble', paper=_ACT),
    Strategy('bspline', 'refit the chunk with a B-spline', merger='bspline', paper=_PAINT),
    Strategy('shift', 'draw from the last noise, shifted with the plan',
             SamplerEntry('shift:Shift', _VELOCITY, 'n', _OWN)),
    Strategy('rtc', 'steer every solver step towards the old plan',
             SamplerEntry('rtc:Rtc', _GRADIENTS, 'n', _RTC, backward='n')),
    Strategy('rtc_identity', 'rtc without the Jacobian',
             SamplerEntry('rtc:Rtc', _VELOCITY, 'n', 'LeRobot', {'jacobian': False})),
    Strategy('rtc_lean', 'rtc with its Jacobian in the first steps only',
             SamplerEntry('rtc:Rtc', _GRADIENTS, 'n', _OWN, {'jacobian_until': 0.4}, '0.4·n')),
    Strategy('paint', 'choose the noise that begins as the old plan',
             SamplerEntry('paint:Paint', _VELOCITY, '3·n', _PAINT)),
    Strategy('paint_lean', 'paint, its noise sought in few steps',
             SamplerEntry('paint:Paint', _VELOCITY, 'n+4', _OWN,
                          {'naive_steps': 2, 'inversion_steps': 2})),
    Strategy('paint_dpm2', 'paint, inverted by midpoint steps',
             SamplerEntry('paint:PaintDpm2', _VELOCITY, '4·n', _PAINT)),
    Strategy('paint_rfm', 'paint, inverted in one step',
             SamplerEntry('paint:PaintRfm', _VELOCITY, '2·n+1', _PAINT)),
    Strategy('paint_optim', 'paint, inverted by gradient descent',
             SamplerEntry('paint:PaintOptim', _GRADIENTS, '(k+2)·n', _PAINT, backward='k·n')),
    Strategy('paint_slide', 'paint once, then reuse its noise',
             SamplerEntry('paint:PaintSlide', _VELOCITY, 'n', _PAINT)),
    Strategy('bid', 'draw many chunks, keep the nearest to the old plan',
             SamplerEntry('bid:Bid', _VELOCITY, 'N·n', _BID)),
    Strategy('bid_full', 'bid, and far from what a weak policy draws',
             SamplerEntry('bid:BidFull', _WEAK, '2·N·n', _BID)),
    Strategy('bid_early', 'bid_full, judged by rough chunks',
             SamplerEntry('early:BidEarly', _WEAK, '4·N+n', _OWN)),
    Strategy('tt_rtc', 'show the executed rows as finished actions',
             SamplerEntry('tt_rtc:TtRtc', _TT_RTC, 'n', 'arXiv 2512.05964')),
    Strategy('remac', 'hold the executed rows while drawing the others',
             SamplerEntry('remac:Remac', _REMAC, 'n', _REMAC_PAPER)),
    Strategy('remac_paired', 'remac, trained on one way at a time',
             SamplerEntry('remac:Remac', _VELOCITY | {'recipe:remac_paired'}, 'n', _OWN)),
    Strategy('vlash', 'ask from the state in which the chunk takes over',
             SamplerEntry('vlash:Vlash', _VELOCITY | {'recipe:vlash'}, 'n', 'arXiv 2512.01031',
                          reads_states=True, keeps_committed=True)),
    Strategy('a2c2', 'correct each action by the newest state',
             corrector='a2c2', paper='arXiv 2509.23224'),
    Strategy('a2c2_paired', 'a2c2, trained on one way at a time',
             corrector='a2c2_paired', paper=_OWN),
)
# fmt: on

STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in _TABLE}

# Samplers made of two, by the names of their strategies joined by '+'.
COMBINATIONS: dict[str, SamplerEntry] = {
    'paint+tt_rtc': SamplerEntry('paint:Paint', _VELOCITY | {'recipe:tt_rtc'}, '3·n', _PAINT),
    'remac+bid': SamplerEntry('combinations:remac_bid', _REMAC, 'N·n', _REMAC_PAPER),
    'remac+rtc': SamplerEntry(
        'combinations:remac_rtc', _REMAC | {'gradients'}, 'n', _REMAC_PAPER, backward='n'
    ),
}

SAMPLERS: dict[str, SamplerEntry] = {
    'plain': PLAIN,
    **{name: s.sampler for name, s in STRATEGIES.items() if s.sampler is not PLAIN},
    **COMBINATIONS,
}
"""Every sampler, by the name of the strategy that has it."""

NAMES = (*STRATEGIES, *COMBINATIONS)
"""Every strategy, and the combinations that are samplers of their own."""

AUTO = 'auto'
"""Name that leaves the choice of a strategy to `policies.strategy_fit.first_served`."""

DEFAULTS = ('rtc', 'paint', 'sync')
"""Strategies that do not jump at the seam, the best first where nothing is known of the task: rtc
needs gradients, paint the velocity, sync nothing but chunks, for which the robot rests."""
