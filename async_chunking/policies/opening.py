# SPDX-License-Identifier: Apache-2.0
"""Open a policy of any kind. Never imports torch."""

from __future__ import annotations

from importlib import import_module

from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.kinds import KINDS
from async_chunking.policies.source import PolicySource, PolicySpec


def open_policy(spec: PolicySpec) -> PolicySource:
    """
    Return the policy that is asked for.

    Raises:
        AsyncChunkingError: The kind is unknown, or the policy cannot be had; says why.
    """
    kind = KINDS[spec.options.policy]
    module, _, name = kind.entry.partition(':')
    try:
        function = getattr(import_module(f'async_chunking.policies.{module}'), name)
    except ModuleNotFoundError as error:
        msg = f'policy:={spec.options.policy} is {kind.summary}; {error.name} is not installed'
        raise AsyncChunkingError(msg) from error
    return function(spec)
