# SPDX-License-Identifier: Apache-2.0
"""The root of every error a user of the package can cause."""

from __future__ import annotations

COULD_NOT_START = 2
"""Exit status of a command or a node that was refused, for instance for its parameters."""


class AsyncChunkingError(ValueError):
    """Something a user gave cannot be used.

    The message names the thing, its value, the allowed values and the remedy. The command line
    prints the message alone, without a traceback.
    """


class StrategyError(AsyncChunkingError):
    """A strategy is unknown, contradicts itself, or asks more than the policy offers."""


class StreamError(AsyncChunkingError):
    """A message does not hold what the robot's description says."""
