# SPDX-License-Identifier: Apache-2.0
"""Which robot of a recording is meant: topics belong to one namespace, never to whichever fits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from async_chunking.bags.definitions import BagError
from async_chunking.bags.files import Bag
from async_chunking.bags.mcap import Topic

STEPS = 'control_step'  # The topic on which the executor tells every command,
STEP = 'async_chunking/msg/ControlStep'  # and the type of its messages.


def namespace_of(topic: str) -> str:
    """Return what is in front of a topic's last name: '/left' of '/left/control_step'."""
    return topic.rpartition('/')[0]


def normalized(namespace: str) -> str:
    """Return a namespace as topics have it: '/left' for 'left', '' for '/'."""
    bare = namespace.strip('/')
    return f'/{bare}' if bare else ''


def full(namespace: str, name: str) -> str:
    """Return the topic that a name means in a namespace; one with a '/' in front means itself."""
    return name if name.startswith('/') else f'{namespace}/{name}'


def matching(topic: Topic, names: Collection[str]) -> str:
    """Return which of some relative names a recorded topic may have, the longest; '' for none."""
    matching = [name for name in names if f'/{topic.name}'.endswith(f'/{name.lstrip("/")}')]
    return max(matching, key=len, default='')


def robot_namespace(bag: Bag, names: Collection[str], given: str | None = None) -> str:
    """
    Return the namespace of the robot whose topics are read.

    That is the given one; else the one in which the only executor told its commands; else the only
    one with any of the topics.

    Args:
        bag: The recording.
        names: Names of topics, relative to the robot's namespace.
        given: What the user said.

    Raises:
        BagError: Topics of several namespaces would do; names two of them.
    """
    if given is not None:
        return normalized(given)
    relative = {name for name in names if not name.startswith('/')}
    by_namespace: dict[str, dict[str, str]] = defaultdict(dict)  # Namespace -> name -> topic.
    for topic in bag.topics(lambda topic: bool(matching(topic, {*relative, STEPS}))):
        name = matching(topic, {*relative, STEPS})
        by_namespace[topic.name.removesuffix(name).rstrip('/')][name] = topic.name
    drives = [space for space, topics in by_namespace.items() if STEPS in topics]
    for spaces in (drives, list(by_namespace)):
        if len(spaces) == 1:
            return spaces[0]
    if not by_namespace:
        return ''
    msg = f'{bag.path}: {_ambiguous(by_namespace)}; say which robot is meant with --namespace'
    raise BagError(msg)


def _ambiguous(by_namespace: Mapping[str, Mapping[str, str]]) -> str:
    """Return two topics between which a name leaves the choice."""
    spaces = sorted(by_namespace)
    for name in sorted({name for topics in by_namespace.values() for name in topics}):
        rivals = [by_namespace[space][name] for space in spaces if name in by_namespace[space]]
        if len(rivals) > 1:
            return f'{name} may be {" or ".join(rivals)}'
    topics = [next(iter(by_namespace[space].values())) for space in spaces]
    return f'{" and ".join(topics)} are in different namespaces (a full name begins with /)'
