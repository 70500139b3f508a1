# SPDX-License-Identifier: Apache-2.0
"""Samplers made of two, where papers combine them; options go to the outer one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from async_chunking.samplers.base import Context
from async_chunking.samplers.bid import Bid
from async_chunking.samplers.paint import Paint
from async_chunking.samplers.remac import Remac
from async_chunking.samplers.rtc import Rtc
from async_chunking.samplers.tt_rtc import TtRtc


@dataclass(frozen=True)
class PaintTtRtc(Paint):
    """
    PAINT (arXiv 2606.19774, appendix A.2) on a policy trained for TT-RTC.

    Behind a prefix at flow time 1 no noise of the prefix is ever read, so the inversion and the
    last pass give all rows the same time, as the policy was trained to see at delay 0. The first
    pass is TT-RTC's: its chunk continues the old plan and so makes a target nearer to what the
    policy draws. The paper does not say how it treats the times.

    Calls: 3n. Needs: per_token_time, recipe:tt_rtc.
    """

    def tail(self, context: Context) -> Tensor:
        """Return TT-RTC's chunk."""
        return TtRtc(self.num_steps).draw(context).actions


def remac_bid(**options: Any) -> Bid:
    """BID among REMAC's chunks; these must end in noise, or all samples would be the same."""
    return Bid(inner=Remac(start='plan_then_noise'), **options)


def remac_rtc(**options: Any) -> Remac:
    """REMAC with its velocity guided as in RTC, by the rows that are not held."""
    return Remac(guidance=Rtc(), **options)
