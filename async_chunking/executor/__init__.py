# SPDX-License-Identifier: Apache-2.0
"""
The executor: one command at every tick, and a request for a chunk when it is time.

Pure: it reads no clock, draws no random number and touches no network, so that the node, the
closed-loop bench and the tests drive the same object. One tick is::

    executor.push(chunk)      # any that arrived
    request = executor.poll() # a question for the policy, every execution horizon
    step = executor.step()    # exactly one command

`content` looks at what a chunk holds, `requests` keeps the book of what was asked and which chunk
answers it, `timeline` what is planned for which tick, and `core` makes commands of that. The seam
of all strategies is there and nowhere else: the old plan is executed until the new chunk takes
over at the row that belongs to now, and the past is never replayed.
"""

from async_chunking.executor.config import Behaviour, ExecutorConfig
from async_chunking.executor.content import REJECTIONS, Outcome
from async_chunking.executor.core import Executor, Phase, Step
from async_chunking.executor.requests import Admission, Admitted

__all__ = [
    'REJECTIONS',
    'Admission',
    'Admitted',
    'Behaviour',
    'Executor',
    'ExecutorConfig',
    'Outcome',
    'Phase',
    'Step',
]
