# SPDX-License-Identifier: Apache-2.0
"""Who else publishes what a driver listens to: two streams of commands make a robot jump."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable

from rclpy.node import Node

_DISCOVERY_S = 1.0  # In which others are found, on a machine that is not too busy [s].
_LOOK_S = 0.05  # [s].


def wait_for_rivals(node: Node, topics: Collection[str]) -> str:
    """Look for as long as discovery takes; returns as `rivals`."""
    end = time.monotonic() + _DISCOVERY_S
    while not (others := rivals(node, topics)) and time.monotonic() < end:
        time.sleep(_LOOK_S)
    return others


def rivals(node: Node, topics: Iterable[str]) -> str:
    """Name a topic that others publish on too, and who does; empty if there is none.

    Args:
        node: Looks at the graph.
        topics: Full names of command topics, on each of which the node's sender has a publisher.
    """
    for topic, own in Counter(topics).items():
        publishers = node.get_publishers_info_by_topic(topic, no_mangle=False)
        if len(publishers) > own:
            names = Counter(
                f'{info.node_namespace.rstrip("/")}/{info.node_name}' for info in publishers
            )
            who = ', '.join(f'{name} ({count})' for name, count in sorted(names.items()))
            return f'{topic} has {len(publishers)} publishers instead of {own}: {who}'
    return ''
