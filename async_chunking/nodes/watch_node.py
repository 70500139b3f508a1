# SPDX-License-Identifier: Apache-2.0
"""Ends a robot's launch by ending itself: a time after the first command, or after episodes."""

from __future__ import annotations

import sys
import time

from async_chunking import ros_environment
from async_chunking.nodes.watch import Watch

_LOOK_S = 0.2  # [s].


def main() -> int:
    """Wait until it is over, with the parameters `duration` [s] and `episodes`; 0 is never."""
    ros_environment.activate()
    watch = Watch('', sys.argv)
    duration, episodes = watch.parameter('duration', 0.0), watch.parameter('episodes', 0)
    begin = 0.0
    try:
        while True:
            sight = watch.look(_LOOK_S)
            begin = begin or (time.monotonic() if sight.executed else 0.0)
            if duration and begin and time.monotonic() - begin >= duration:
                watch.tell(f'{duration:g} s are over')
                return 0
            if episodes and len(sight.episodes) >= episodes:
                solved = sum(bool(episode['success']) for episode in sight.episodes)
                watch.tell(f'{len(sight.episodes)} episodes are over, {solved} solved')
                return 0
    finally:
        watch.close()


if __name__ == '__main__':
    raise SystemExit(main())
