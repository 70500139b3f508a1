# SPDX-License-Identifier: Apache-2.0
"""
The golden recording: today's messages with today's definitions, committed and read for ever.

It was written once by `write` and stays as it is when messages gain fields; a change that a reader
cannot follow shows in `test_golden.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

from scripted import limits, scripted_run

from async_chunking.bags.definitions import own_store
from async_chunking.bags.reading import TEXT
from async_chunking.bags.writer import BagWriter
from tools.recordings.export import TOPICS, serialize

NAMES = ('lower', 'upper', 'velocity', 'acceleration')


def write(path: Path) -> None:
    """Write four seconds each of two strategies, with a snapshot and their episodes."""
    store = own_store()
    bounds = limits(3)
    told = {'limits': {name: getattr(bounds, name).tolist() for name in NAMES}}
    with BagWriter(path) as writer:
        for kind, topic in TOPICS.items():
            writer.add(f'/{topic}', kind)
        writer.add('/snapshot', TEXT)
        text = store.types[TEXT](json.dumps({**told, 'versions': {'async_chunking': '0.1.0'}}))
        writer.write('/snapshot', 0, bytes(store.serialize_cdr(text, TEXT)))
        for number, strategy in enumerate(('naive', 'paint')):
            run = scripted_run(strategy, seed=number, ticks=200, agree=0.9 * number)
            for kind, stamp, data in serialize(run, run_id=number + 1):
                writer.write(f'/{TOPICS[kind]}', stamp + number * 10**10, data)
