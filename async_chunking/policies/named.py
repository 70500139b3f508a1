# SPDX-License-Identifier: Apache-2.0
"""
A policy by one word, `--policy`: what `policy:=` and its companions say to `up`.

    viperx_slalom, runs/mine            a shipped policy, or a folder of checkpoints
    lerobot:DIR                         a checkpoint of LeRobot
    torch:module:factory, torch:a.py:f  whatever a factory returns
    ws://host:8000, gr00t://host:5555   a server
"""

from __future__ import annotations

from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.kinds import KINDS
from async_chunking.policies.options import OWN_KIND, PolicyOptions
from async_chunking.settings import validated


def policy_options(word: str) -> PolicyOptions:
    """
    Return what a word says about a policy; empty is the robot's own.

    Raises:
        AsyncChunkingError: It begins with no kind of policy and is no path.
    """
    if '://' in word:
        return _options(policy='remote', policy_url=word)
    kind, colon, rest = word.partition(':')
    if colon and kind in KINDS and not rest:
        msg = f"policy '{word}' names nothing after the colon; write {kind}:…"
        raise AsyncChunkingError(msg)
    if kind == 'torch' and colon:
        return _options(policy='torch', policy_entry=rest)
    if kind == 'lerobot' and colon:
        return _options(policy='lerobot', policy_path=rest)
    if kind == OWN_KIND and colon:
        return _options(policy_path=rest)
    return _options(policy_path=word)


def _options(**values: str) -> PolicyOptions:
    return validated(PolicyOptions, values, '--policy')
