# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with an observation."""

from async_chunking.errors import AsyncChunkingError


class StreamError(AsyncChunkingError):
    """A message does not hold what the robot's description says."""
