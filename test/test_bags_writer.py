# SPDX-License-Identifier: Apache-2.0
"""A recording survives the sudden end of its recorder, a full disk and a slow one."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
import time

import pytest
from rosbags.highlevel import AnyReader

from async_chunking.bags import recording
from async_chunking.bags.definitions import BagError, own_store
from async_chunking.bags.files import find
from async_chunking.bags.recording import Recording
from async_chunking.bags.writer import BagWriter

KIND = 'std_msgs/msg/String'


def text(number: int, size: int = 1) -> bytes:
    store = own_store()
    return bytes(store.serialize_cdr(store.types[KIND](f'{number} ' * size), KIND))


def count(path) -> tuple[int, list[str]]:
    (bag,) = find([path])
    return sum(1 for _ in bag.messages(lambda _: True)), bag.problems


def wait_for(predicate, what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not predicate():
        if time.monotonic() > deadline:
            pytest.fail(f'after {seconds} s still not: {what}')
        time.sleep(0.02)


def test_what_was_written_can_be_read_by_others(tmp_path):
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add('/text', KIND)
        writer.add('/text', KIND)
        for number in range(10):
            writer.write('/text', 100 + number, text(number))
            if number % 3 == 0:
                writer.flush()
    with AnyReader([tmp_path / 'bag']) as reader:
        assert reader.message_count == 10
        assert [s for _, s, _ in reader.messages()] == list(range(100, 110))
        connection, _, raw = next(reader.messages())
        assert reader.deserialize(raw, connection.msgtype).data == '0 '
    assert count(tmp_path / 'bag') == (10, [])


@pytest.mark.parametrize(('distro', 'named'), [('jazzy', 'jazzy'), ('', 'rosbags')])
def test_a_recording_names_the_distribution_that_made_it(tmp_path, monkeypatch, distro, named):
    monkeypatch.setenv('ROS_DISTRO', distro)
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add('/text', KIND)
        writer.write('/text', 100, text(1))
    assert f'ros_distro: {named}\n' in (tmp_path / 'bag' / 'metadata.yaml').read_text()
    assert count(tmp_path / 'bag') == (1, [])


def test_an_existing_folder_is_not_overwritten(tmp_path):
    (tmp_path / 'bag').mkdir()
    with pytest.raises(BagError, match=r'cannot record to .*exists already'):
        BagWriter(tmp_path / 'bag')


RECORDER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from async_chunking.bags.recording import Recording
from test_bags_writer import KIND, text
recorder = Recording(Path({path!r}))
recorder.add('/text', KIND)
for number in range(10**9):
    recorder.put('/text', number, text(number))
    print(recorder.count, flush=True)
    time.sleep(0.005)
"""


def test_a_killed_recorder_leaves_all_but_the_last_second(tmp_path):
    code = RECORDER.format(here=str(__file__).rpartition('/')[0], path=str(tmp_path / 'bag'))
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    try:
        at = {}
        while (line := process.stdout.readline()) and time.monotonic() - min(
            at.values(), default=time.monotonic()
        ) < 3.0:
            at[int(line)] = time.monotonic()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / 'bag' / 'metadata.yaml').exists()
    found, problems = count(tmp_path / 'bag')
    # Twice the time between two flushes, for a machine that is busy.
    early = max(number for number, when in at.items() if when < max(at.values()) - 2.0)
    assert found >= early > 0
    assert 'not closed by its recorder' in problems[0]


def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path):
    """A limit on the size of files stands for the disk; the system reports both alike."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        recorder = Recording(tmp_path / 'bag')
        recorder.add('/text', KIND)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, hard))
        number = 0

        def write() -> bool:
            nonlocal number
            for _ in range(100):
                recorder.put('/text', number, text(number, 500))
                number += 1
            return bool(recorder.failure)

        wait_for(write, 'the disk is full')
        for _ in range(100):  # Goes on unharmed.
            recorder.put('/text', number, text(number))
        recorder.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert 'recording ended after' in recorder.failure
    found, problems = count(tmp_path / 'bag')
    assert 0 < found <= recorder.count
    assert 'not closed by its recorder' in problems[-1]


def test_a_slow_disk_drops_messages_and_counts_them(tmp_path, monkeypatch):
    blocked = threading.Event()
    monkeypatch.setattr(recording, '_WAITING', 10)
    monkeypatch.setattr(BagWriter, 'flush', lambda _: None)
    write = BagWriter.write

    def slowly(self, *arguments) -> None:
        blocked.wait()
        write(self, *arguments)

    monkeypatch.setattr(BagWriter, 'write', slowly)
    recorder = Recording(tmp_path / 'bag')
    recorder.add('/text', KIND)
    begin = time.monotonic()
    for number in range(100):
        recorder.put('/text', number, text(number))
    assert time.monotonic() - begin < 30.0  # Never waits for the disk, which does not answer.
    assert 85 <= recorder.dropped <= 90
    blocked.set()
    recorder.close()
    assert recorder.count == 100 - recorder.dropped
    assert count(tmp_path / 'bag') == (recorder.count, [])
