# SPDX-License-Identifier: Apache-2.0
"""
The kinds of policy: `policy:=KIND`. Never imports torch.

A kind is one line of `KINDS`: the function that opens such a policy, and what its policies offer,
from which the compatibility table is generated. The function's module is imported when it is asked
for. It takes a `PolicySpec` and returns a `PolicySource`; `policies/source.py` says what that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from async_chunking.errors import AsyncChunkingError
from async_chunking.settings import unknown
from async_chunking.strategies import CORRECTORS, RECIPES


@dataclass(frozen=True)
class Offer:
    """
    What the policies of one column of the compatibility table offer, names of `strategies.NEEDS`.

    Attributes:
        always: Every one.
        may: Those that were trained, written or accompanied accordingly.
    """

    always: frozenset[str]
    may: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Kind:
    """
    A kind of policy.

    Attributes:
        entry: 'module:function' under `async_chunking.policies`; PolicySpec -> PolicySource.
        summary: What it opens, in a few words.
        columns: Heading in the compatibility table -> what is offered.
    """

    entry: str
    summary: str
    columns: Mapping[str, Offer]


_NOTHING: frozenset[str] = frozenset()

KINDS: dict[str, Kind] = {
    'checkpoint': Kind(
        'checkpoint.directory:open_policy',
        'a folder of checkpoints of this package',
        {
            'flow': Offer(
                frozenset({'velocity', 'gradients', 'per_token_time'}),
                RECIPES | CORRECTORS | {'weak_policy'},
            ),
            'act': Offer(_NOTHING, CORRECTORS),
        },
    ),
    'lerobot': Kind(
        'lerobot.opening:open_policy',
        'a checkpoint of LeRobot; needs the package lerobot',
        {
            'π0, π0.5, SmolVLA': Offer(
                frozenset({'velocity', 'gradients', 'per_token_time'}), RECIPES | CORRECTORS
            ),
            'LeRobot ACT, diffusion': Offer(_NOTHING),
        },
    ),
    'torch': Kind(
        'entry:open_policy',
        'whatever policy_entry:=module:factory returns',
        {
            'torch': Offer(
                frozenset({'velocity'}),
                RECIPES | CORRECTORS | {'gradients', 'per_token_time', 'weak_policy'},
            ),
        },
    ),
    'remote': Kind(
        'remote.source:open_policy',
        'a server of openpi or GR00T at policy_url; needs the extra remote',
        {'remote': Offer(_NOTHING, CORRECTORS)},
    ),
    'wave': Kind(
        'wave:open_policy',
        'no policy: joints wave slowly, on any robot',
        {'wave': Offer(frozenset({'velocity', 'gradients'}))},
    ),
}


def check_kind(name: str) -> str:
    """
    Return the name of a kind.

    Raises:
        AsyncChunkingError: There is no such kind; names those there are.
    """
    if name not in KINDS:
        raise AsyncChunkingError(unknown('policy kind', name, KINDS))
    return name
