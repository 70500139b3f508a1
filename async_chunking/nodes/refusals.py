# SPDX-License-Identifier: Apache-2.0
"""Requests that the policy could not serve, and when to go back to an older strategy."""

from __future__ import annotations

from collections import Counter

from async_chunking.msg import ActionChunk

_IN_A_ROW = 2  # One refusal may have another reason, such as a camera that is late.


class Refusals:
    """Counts refusals in a row of what was asked with one strategy.

    Attributes:
        last: What the policy said last when it could not serve a request.
    """

    def __init__(self) -> None:
        self.last = ''
        self._count = Counter[str]()

    def hear(self, message: ActionChunk, wanted: str, run_id: int, served: str) -> str:
        """
        Take an answer; return the strategy to go back to, empty to go on.

        Args:
            message: The policy's answer.
            wanted: The strategy that requests ask for now.
            run_id: The run that is under way.
            served: The strategy of the last chunk that took over, empty if there is none.
        """
        if not message.refusal:
            self._count.clear()
            return ''
        self.last = message.refusal
        if message.run_id != run_id or message.strategy != wanted:
            return ''
        self._count = Counter({wanted: self._count[wanted] + 1})
        return served if served != wanted and self._count[wanted] >= _IN_A_ROW else ''
