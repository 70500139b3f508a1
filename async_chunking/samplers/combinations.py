# SPDX-License-Identifier: Apache-2.0
"""Samplers made of two, where papers combine them; options go to the outer one."""

from __future__ import annotations

from typing import Any

from async_chunking.samplers.bid import Bid
from async_chunking.samplers.remac import Remac
from async_chunking.samplers.rtc import Rtc


def remac_bid(**options: Any) -> Bid:
    """BID among REMAC's chunks; these must end in noise, or all samples would be the same."""
    return Bid(inner=Remac(start='plan_then_noise'), **options)


def remac_rtc(**options: Any) -> Remac:
    """REMAC with its velocity guided as in RTC, by the rows that are not held."""
    return Remac(guidance=Rtc(), **options)
