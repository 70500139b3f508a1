# SPDX-License-Identifier: Apache-2.0
"""What tells one policy from another in rows: a digest of all that serves a strategy."""

from __future__ import annotations

import hashlib

from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.source import PolicySource
from async_chunking.strategies import Strategy


def digest_of(source: PolicySource, strategy: Strategy, environment: str = '') -> str:
    """
    Return the digest of what serves a strategy: checkpoints with all settings, else a name.

    Args:
        source: The policy.
        strategy: Whose checkpoints are meant.
        environment: Digest of its description, as rows of another description are others.
    """
    if isinstance(source, PolicyDirectory):
        needed = [source.recipe_for(strategy)]
        needed += ['weak'] if 'weak_policy' in strategy.needs else []
        needed += [strategy.corrector] if strategy.corrector != 'none' else []
        parts = b''.join(source.sidecars[name].dump() for name in needed)
    else:  # Servers have no digest: their rows are told apart by address alone.
        parts = f'{source.title} {source.digest(strategy)}'.encode()
    return hashlib.sha256(parts + environment.encode()).hexdigest()[:16]
