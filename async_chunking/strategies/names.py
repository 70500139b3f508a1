# SPDX-License-Identifier: Apache-2.0
"""From a name, such as `paint+a2c2` or `rtc:schedule=linear`, to a strategy."""

from __future__ import annotations

import difflib

from async_chunking.errors import StrategyError
from async_chunking.strategies.strategy import PLAIN, SamplerEntry, Strategy
from async_chunking.strategies.table import COMBINATIONS, STRATEGIES

_LONGEST = 500  # Name [characters].


def resolve(name: str) -> Strategy:
    """
    Return the strategy for a name or a '+' combination.

    Each part sets the axes in which it differs from `naive`. Two samplers combine only where the
    table has them, under their names joined by '+' in either order. A part may set constants:
    `rtc:schedule=linear:max_guidance_weight=10`.

    Raises:
        StrategyError: A part is unknown, two parts set the same axis, the name is too long, or a
            constant is written wrongly. Whether it exists is known when it is loaded.
    """
    if len(name) > _LONGEST:
        msg = f"strategy '{name[:20]}…' has {len(name)} characters, at most {_LONGEST} are read"
        raise StrategyError(msg)
    samplers: dict[str, SamplerEntry] = {}
    axes: dict[str, list[str]] = {'merger': [], 'corrector': []}
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
        if STRATEGIES[part].sampler != PLAIN:
            samplers[part] = STRATEGIES[part].sampler
        for axis, chosen in axes.items():
            value = getattr(STRATEGIES[part], axis)
            if value != getattr(default, axis) and value not in chosen:
                chosen.append(value)
    for axis, chosen in axes.items():
        if len(chosen) > 1:
            msg = f"strategy '{name}' sets the {axis} twice: {' and '.join(chosen)}; keep one"
            raise StrategyError(msg)
    chosen_axes = {axis: chosen[0] for axis, chosen in axes.items() if chosen}
    sampler = _joined(name, samplers)
    return Strategy(name, sampler=sampler, **chosen_axes, constants=tuple(constants.items()))


def _joined(name: str, samplers: dict[str, SamplerEntry]) -> SamplerEntry:
    """Return what samplers make together."""
    if len(samplers) < 2:
        return next(iter(samplers.values()), PLAIN)
    for joined in ('+'.join(samplers), '+'.join(reversed(samplers))):
        if joined in COMBINATIONS:
            return COMBINATIONS[joined]
    msg = f"strategy '{name}': samplers that combine are {', '.join(sorted(COMBINATIONS))}"
    raise StrategyError(msg)


def _unknown(part: str) -> str:
    close = difflib.get_close_matches(part, STRATEGIES, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ''
    return f"unknown strategy '{part}'.{hint} Choices: {', '.join(STRATEGIES)}, joined by '+'"
