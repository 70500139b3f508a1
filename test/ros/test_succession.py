# SPDX-License-Identifier: Apache-2.0
"""One strategy follows another when the policy is warm for it, and not before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy')

from rclpy.node import Node
from rclpy.parameter import Parameter

from async_chunking.correctors import Corrector
from async_chunking.errors import AsyncChunkingError
from async_chunking.executor import Behaviour
from async_chunking.nodes.succession import Preparation, Succession
from async_chunking.strategies import resolve


def behaviour(name: str) -> Behaviour:
    return Behaviour(name, resolve(name).load_merger(), Corrector())


class Sides:
    """An executor and a policy, as far as strategies go; the policy rehearses when it is let."""

    def __init__(self, node: Node) -> None:
        self.node, self.used, self.chores = node, [], []
        self.slow: list[str] = []
        self.rehearsed: list[str] = []
        node.declare_parameter('strategy', 'naive')
        node.add_post_set_parameters_callback(self._changed)
        sender = SimpleNamespace(status=SimpleNamespace(run_id=0, served='naive'))
        self.succession = Succession(node, sender, 'naive', self.used.append)

    def _changed(self, changed: list[Parameter]) -> None:
        self.succession.follow(behaviour(changed[0].value))

    def policy(self) -> None:
        worker = SimpleNamespace(later=self.chores.append)
        Preparation(self.node, worker, 'naive', self._rehearse, self._check)

    def _rehearse(self, name: str) -> Iterator[float]:
        resolve(name)
        for seconds in (0.5, 0.25):
            self.rehearsed.append(name)
            yield seconds

    def _check(self, name: str, seconds: float) -> None:
        assert seconds == 0.25
        if name in self.slow:
            raise AsyncChunkingError(f'{name} is too slow')

    def set(self, name: str) -> None:
        self.node.set_parameters([Parameter('strategy', value=name)])

    def names(self) -> list[str]:
        return [chosen.name for chosen in self.used]


@pytest.fixture
def sides(node: Node, spin_until: Callable) -> Sides:
    sides = Sides(node)
    sides.policy()
    spin_until(sides.succession._next.get_subscription_count, 'the policy listens')
    return sides


def test_the_strategy_before_goes_on_until_the_policy_is_warm(
    sides: Sides, spin_until: Callable
) -> None:
    sides.set('ensemble')
    for _ in range(3):  # Two answers, and the end of them.
        spin_until(lambda: sides.chores, 'it rehearses')
        assert not sides.used
        assert sides.succession.values() == {'next_strategy': 'ensemble'}
        sides.chores.pop()()
    spin_until(lambda: sides.used, 'it is used')
    sides.set('naive')
    spin_until(lambda: len(sides.used) == 2, 'what is warm is used at once')
    assert sides.names() == ['ensemble', 'naive']
    assert not sides.chores


def test_a_strategy_that_is_refused_is_never_used(sides: Sides, spin_until: Callable) -> None:
    sides.slow = ['ensemble']
    sides.set('ensemble')
    spin_until(lambda: sides.chores, 'it rehearses')
    while sides.chores:
        sides.chores.pop()()
    spin_until(lambda: sides.node.get_parameter('strategy').value == 'naive', 'it is taken back')
    assert sides.succession.values() == {}
    assert 'ensemble' not in sides.names()


def test_the_last_of_two_wishes_counts(sides: Sides, spin_until: Callable) -> None:
    sides.set('ensemble')
    spin_until(lambda: sides.chores, 'it rehearses')
    sides.set('bspline')
    spin_until(lambda: len(sides.chores) == 2, 'it shall rehearse another')
    while sides.chores:
        sides.chores.pop(0)()
    spin_until(lambda: sides.used, 'it is used')
    assert sides.names() == ['bspline']
    assert sides.rehearsed == ['bspline'] * 2  # Nothing for what nobody wants any more.


def test_a_policy_that_starts_later_hears_what_is_wanted(node: Node, spin_until: Callable) -> None:
    sides = Sides(node)
    sides.set('ensemble')
    assert sides.names() == ['ensemble']  # Nobody to wait for.
    sides.policy()
    spin_until(lambda: sides.chores, 'it rehearses')
