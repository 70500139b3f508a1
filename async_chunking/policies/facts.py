# SPDX-License-Identifier: Apache-2.0
"""
What a policy offers, for processes that start nodes and must never load torch.

Folders of checkpoints say it in their JSON files. Every other policy is opened for a moment in a
process of its own: `python -m async_chunking.policies.facts`, question and answer are JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.fit import Facts, facts_of
from async_chunking.policies.opening import open_policy
from async_chunking.policies.options import OWN_KIND, PolicyOptions
from async_chunking.policies.source import PolicySpec
from async_chunking.robot.embodiment import Embodiment

_USER_ERROR = 2


def facts(spec: PolicySpec) -> Facts:
    """
    Return what a policy offers, without loading torch here.

    Raises:
        AsyncChunkingError: It cannot be had; says why.
    """
    if spec.options.policy == OWN_KIND:
        return facts_of(open_policy(spec))
    question = {
        'robot': spec.robot.model_dump(mode='json'),
        'options': PolicyOptions.model_dump(spec.options, include=set(PolicyOptions.model_fields)),
    }
    command = [sys.executable, '-m', __name__]
    done = subprocess.run(
        command, input=json.dumps(question), capture_output=True, text=True, check=False
    )
    if done.returncode:
        text = done.stderr.strip()
        kind = spec.options.policy
        shown = text if done.returncode == _USER_ERROR else f'policy {kind}: {text[-2000:]}'
        raise AsyncChunkingError(shown)
    answer = json.loads(done.stdout.splitlines()[-1])
    answer['offers'] = frozenset(answer['offers'])
    for name in ('expects', 'delays'):
        answer[name] = {key: tuple(values) for key, values in answer[name].items()}
    answer['joint_names'] = tuple(answer['joint_names'])
    return Facts(**answer)


def main() -> int:
    """Answer the question on standard input."""
    question = json.loads(sys.stdin.read())
    robot = Embodiment.model_validate(question['robot'])
    options = PolicyOptions.model_validate(question['options'])
    try:
        source = open_policy(PolicySpec(robot, options))
    except AsyncChunkingError as error:
        sys.stderr.write(str(error))
        return _USER_ERROR
    known = asdict(facts_of(source))
    source.close()
    sys.stdout.write('\n' + json.dumps({**known, 'offers': sorted(known['offers'])}) + '\n')
    return 0


if __name__ == '__main__':
    try:
        status = main()
    except KeyboardInterrupt:
        sys.stderr.write('interrupted')
        status = _USER_ERROR
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # Nothing follows the answer, and taking torch apart takes seconds.
