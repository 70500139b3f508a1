# SPDX-License-Identifier: Apache-2.0
"""The constants of the samplers, for processes that never load them; a test holds both equal."""

from __future__ import annotations

from typing import Any

_SOLVER: dict[str, Any] = {'num_steps': 0}
_PAINT = {**_SOLVER, 'grid': 'arrival', 'naive_steps': 0, 'inversion_steps': 0}
_RTC = {'max_guidance_weight': 5.0, 'schedule': 'exp', 'jacobian': True, 'jacobian_until': 1.0}
_BID = {**_SOLVER, 'samples': 16, 'schedule': 'exp'}
_REMAC = {**_SOLVER, 'start': 'plan'}

CONSTANTS: dict[str, dict[str, Any]] = {
    'plain:Plain': _SOLVER,
    'shift:Shift': _SOLVER,
    'rtc:Rtc': {**_SOLVER, **_RTC},
    'paint:Paint': _PAINT,
    'paint:PaintDpm2': _PAINT,
    'paint:PaintRfm': _PAINT,
    'paint:PaintOptim': {**_PAINT, 'iterations': 5, 'learning_rate': 0.1},
    'paint:PaintSlide': {**_PAINT, 'shift': True},
    'bid:Bid': _BID,
    'bid:BidFull': {**_BID, 'keep': 3},
    'early:BidEarly': {**_BID, 'samples': 8, 'keep': 3, 'early_steps': 2},
    'tt_rtc:TtRtc': _SOLVER,
    'remac:Remac': _REMAC,
    'vlash:Vlash': {
        **_SOLVER, 'mode': 'absolute', 'quantization': 1, 'state_key': 'observation.state',
    },
    'combinations:remac_bid': _BID,
    'combinations:remac_rtc': _REMAC,
}  # fmt: skip
"""Entry of a sampler -> its constants and their defaults."""

CHOICES: dict[str, tuple[str, ...]] = {
    'grid': ('arrival', 'departure'),
    'schedule': ('exp', 'linear', 'ones', 'zeros'),
    'start': ('plan', 'plan_always', 'plan_then_noise', 'gaussian'),
    'mode': ('absolute', 'delta'),
}
"""Constant -> the words that it can be."""

LEAST: dict[str, int] = {'samples': 1, 'keep': 1, 'quantization': 1}
"""Constant -> the least that it can be, where that is not 0."""

MOST = 10_000
"""The most that a constant can be that is a number: steps and samples cost time and memory."""
