# SPDX-License-Identifier: Apache-2.0
"""Why a robot did not start to move: the true cause first, from the troubles of its nodes."""

from __future__ import annotations

from collections.abc import Mapping

_LOCAL = {'ROS_AUTOMATIC_DISCOVERY_RANGE': ('LOCALHOST', 'OFF'), 'ROS_LOCALHOST_ONLY': ('1',)}
_SILENT = ('no message', 'has gone silent', 'was not received')
_PATIENCE = 'a large policy takes longer: set start_timeout_s'


def start_failure(
    seconds: float, troubles: Mapping[str, str], ticks: int, environment: Mapping[str, str]
) -> str:
    """
    Return a sentence about a robot that executed no chunk in some seconds.

    Args:
        seconds: That were waited [s].
        troubles: Node -> the last trouble that it told; '' of a node that told of none.
        ticks: Commands that were seen.
        environment: Variables of the shell.
    """
    begin = f'no chunk was executed within {seconds:g} s'
    named = [f'{node}: {words}' for node, words in troubles.items() if words]
    # What the executor says comes first: a chunk that it rejected, or joints that it lacks.
    named.sort(key=lambda words: not words.startswith('executor'))
    local = [name for name, values in _LOCAL.items() if environment.get(name) in values]
    hidden = (
        f'; {local[0]}={environment[local[0]]} hides what runs on other hosts' if local else ''
    )
    if not troubles and not ticks:
        domain = environment.get('ROS_DOMAIN_ID', '0')
        words = f'nothing was heard of its nodes (ROS_DOMAIN_ID={domain}){hidden}'
        return f'{begin}: {words}; {_PATIENCE}'
    if named:
        silent = any(words in named[0] for words in _SILENT)
        more = f' ({"; ".join(named[1:])})' if named[1:] else ''
        return f'{begin}: {named[0]}{hidden if silent else ""}{more}'
    return f'{begin}; {_PATIENCE}'
