# SPDX-License-Identifier: Apache-2.0
"""The worker behind the policy node: the newest is served, nothing after it was stopped."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from async_chunking.nodes.worker import Worker

PATIENCE = 30.0


class Busy:
    """Serves when it is let, and tells what it was given."""

    def __init__(self) -> None:
        self.begun: queue.Queue[object] = queue.Queue()
        self.let = threading.Semaphore(0)
        self.worker = Worker('test', self.serve)

    def serve(self, thing: object) -> None:
        self.begun.put(thing)
        self.let.acquire(timeout=PATIENCE)

    def next(self) -> object:
        return self.begun.get(timeout=PATIENCE)


@pytest.fixture
def busy() -> Iterator[Busy]:
    busy = Busy()
    yield busy
    busy.let.release(100)
    busy.worker.stop(PATIENCE)


def test_only_the_newest_of_what_waits_is_served(busy: Busy) -> None:
    busy.worker.start()
    assert not busy.worker.offer('a')
    assert busy.next() == 'a'
    assert not busy.worker.offer('b')
    assert busy.worker.offer('c')  # Instead of b.
    assert busy.worker.offer('d')
    busy.let.release(2)
    assert busy.next() == 'd'
    busy.let.release()
    busy.worker.stop(PATIENCE)
    assert busy.begun.empty()


def test_what_comes_while_it_is_stopped_is_never_served(busy: Busy) -> None:
    assert not busy.worker.offer('before')
    busy.worker.start()
    busy.worker.offer('a')
    assert busy.next() == 'a'
    busy.let.release()
    busy.worker.stop(PATIENCE)
    assert busy.worker.stopping
    busy.worker.offer('after')
    assert not busy.worker.offer('after')  # Neither waits.
    busy.worker.start()
    assert not busy.worker.stopping
    busy.worker.offer('b')
    assert busy.next() == 'b'


def test_stop_is_not_held_up_for_ever(busy: Busy) -> None:
    busy.worker.start()
    busy.worker.offer('slow')
    assert busy.next() == 'slow'
    busy.worker.stop(0.01)  # It is still served.
    busy.worker.start()  # The same thread goes on.
    busy.worker.offer('next')
    busy.let.release(2)
    assert busy.next() == 'next'


def test_chores_wait_for_what_is_to_be_served_and_for_the_next_start(busy: Busy) -> None:
    done: queue.Queue[str] = queue.Queue()
    busy.worker.later(lambda: done.put('first'))
    busy.worker.start()
    assert done.get(timeout=PATIENCE) == 'first'
    busy.worker.offer('a')
    assert busy.next() == 'a'
    busy.worker.later(lambda: done.put('second'))
    busy.worker.offer('b')
    busy.let.release()
    assert busy.next() == 'b'
    assert done.empty()
    busy.let.release()
    assert done.get(timeout=PATIENCE) == 'second'


@pytest.mark.parametrize(
    'times', [(0, 40, 80, 120), (0, 40, -(10**12)), (0, 40, 10**15)], ids=['on', 'back', 'ahead']
)
def test_sleep_ends_when_the_time_has_come_or_the_clock_was_set(
    busy: Busy, times: tuple[int, ...]
) -> None:
    """A simulation that begins anew must not leave its policy waiting for the time of before."""
    busy.worker.start()
    coming = iter(times)
    busy.worker.sleep(lambda: next(coming) * 1_000_000, 0, 0.1, 0.0001)
    assert next(coming, None) is None


def test_what_waited_when_it_was_stopped_is_never_served(busy: Busy) -> None:
    busy.worker.start()
    busy.worker.offer('a')
    assert busy.next() == 'a'
    busy.worker.offer('waits')
    busy.worker.stop(0.0)
    busy.worker.start()
    assert not busy.worker.offer('b')  # Instead of nothing.
    busy.let.release()
    assert busy.next() == 'b'
