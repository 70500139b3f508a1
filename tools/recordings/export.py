# SPDX-License-Identifier: Apache-2.0
"""Write a run that was simulated as the recording that a robot's nodes would have left."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from async_chunking.bags.definitions import own_store
from async_chunking.bags.reading import CHUNK, EPISODE_TOPIC, REQUEST, STEP, TEXT
from async_chunking.bags.writer import BagWriter
from async_chunking.metrics import late_chunks, rejected_chunks
from async_chunking.metrics.record import Exchange, Run

TOPICS = {
    REQUEST: 'chunk_request', CHUNK: 'action_chunk', STEP: 'control_step', TEXT: EPISODE_TOPIC,
}  # fmt: skip


class Serialized(NamedTuple):
    """A message of type `kind`, at a time since the run began [ns]."""

    kind: str
    stamp: int
    data: bytes


def write_run(run: Run, path: Path, run_id: int = 1, namespace: str = '') -> None:
    """
    Write a run to a new folder.

    Raises:
        BagError: The folder exists or cannot be made.
    """
    with BagWriter(path) as writer:
        for kind, topic in TOPICS.items():
            writer.add(f'{namespace}/{topic}', kind)
        for kind, stamp, data in serialize(run, run_id):
            writer.write(f'{namespace}/{TOPICS[kind]}', stamp, data)


def serialize(run: Run, run_id: int = 1) -> Iterator[Serialized]:
    """Yield a run's messages in the order in which its nodes would have sent them."""
    store = own_store()

    def message(kind: str, stamp: int, values: dict[str, Any]) -> Serialized:
        sec, nanosec = divmod(stamp, 1_000_000_000)
        types = store.types
        time = types['builtin_interfaces/msg/Time'](sec, nanosec)
        header = types['std_msgs/msg/Header'](time, '')
        values = values if kind == TEXT else {'header': header, **values}
        for name, (_, detail) in store.fielddefs[kind][1]:
            if name not in values:  # A field that is newer than this; runs know nothing of it.
                values[name] = '' if detail[0] == 'string' else np.zeros(0, np.float32)
                if isinstance(detail[0], str) and detail[0] != 'string':
                    values[name] = 0
        return Serialized(kind, stamp, bytes(store.serialize_cdr(types[kind](**values), kind)))

    period_ns = round(run.control_period * 1e9)
    asked: dict[int, list[Exchange]] = {}
    origin = math.nan  # Tick of row 0 of the chunk that is played.
    for exchange in run.exchanges.values():
        asked.setdefault(exchange.tick, []).append(exchange)
    for index, tick in enumerate(run.tick.tolist()):
        stamp = tick * period_ns
        for exchange in asked.get(tick, ()):
            yield message(REQUEST, stamp, _request(run, run_id, exchange))
        exchange = run.exchanges.get(int(run.request_id[index]))
        if run.took_over[index] and exchange is not None:
            # Where nothing was planned before, a chunk starts when it comes.
            origin = exchange.tick if len(exchange.previous) else tick
            yield message(CHUNK, stamp, _chunk(run, run_id, exchange))
        row_0 = origin if run.request_id[index] else math.nan
        yield message(STEP, stamp, _step(run, run_id, index, row_0))
    for episode in run.attempts():
        seed, _, number = episode.trial.partition('/')
        content = {
            'episode': number, 'seed': seed,
            'success': episode.success, 'duration_s': episode.duration,
        }  # fmt: skip
        yield message(TEXT, int(run.tick[-1]) * period_ns, {'data': json.dumps(content)})


def _names(columns: int) -> list[str]:
    return [f'joint_{number}' for number in range(columns)]


def _request(run: Run, run_id: int, exchange: Exchange) -> dict[str, Any]:
    return {
        'run_id': run_id,
        'request_id': exchange.request_id,
        'tick': exchange.tick,
        'strategy': run.strategy,
        'delay': exchange.conditioned_delay,
        'execution_horizon': 0,
        'policy_rate_hz': 1.0 / (run.control_period * run.stride),
        'control_rate_hz': 1.0 / run.control_period,
        'rows': exchange.previous.shape[0],
        'columns': exchange.previous.shape[1],
        'previous': exchange.previous.astype(np.float32).ravel(),
        'joint_names': _names(exchange.previous.shape[1]),
    }


def _chunk(run: Run, run_id: int, exchange: Exchange) -> dict[str, Any]:
    return {
        'run_id': run_id,
        'request_id': exchange.request_id,
        'tick': exchange.tick,
        'strategy': run.strategy,
        'rows': exchange.actions.shape[0],
        'columns': exchange.actions.shape[1],
        'actions': exchange.actions.astype(np.float32).ravel(),
        'joint_names': _names(exchange.actions.shape[1]),
        'conditioned_delay': exchange.conditioned_delay,
        'observation_age': exchange.observation_age,
        'observation_names': [],
        'observation_ages': np.empty(0),
        'waiting_duration': exchange.waiting,
        'inference_duration': exchange.inference,
        'policy_calls': 0,
        'checkpoint': '',
        'refusal': '',
    }


def _step(run: Run, run_id: int, index: int, origin: float) -> dict[str, Any]:
    tick = int(run.tick[index])
    due = round(tick * run.control_period * 1e9)
    emitted, deadline = run.emitted[index], run.deadline[index]
    # Only the totals of the end are known.
    counters = run.counters if index else {}
    return {
        'run_id': run_id,
        'tick': tick,
        'strategy': run.strategy,
        'phase': int(run.phase[index]),
        'joint_names': _names(run.command.shape[1]),
        'command': run.command[index].astype(np.float32),
        'planned': run.planned[index].astype(np.float32),
        'measured': run.measured[index].astype(np.float32),
        'measured_age': 0.0,
        'request_id': int(run.request_id[index]),
        'row': (tick - origin) / run.stride,
        'took_over': bool(run.took_over[index]),
        'delay': int(run.delay[index]),
        'limited': False,
        'missed': bool(run.missed[index]),
        'deadline_ns': due if np.isnan(deadline) else round(deadline * 1e9),
        'emitted_ns': due if np.isnan(emitted) else round(emitted * 1e9),
        'late_chunks': late_chunks(counters),
        'rejected_chunks': rejected_chunks(counters),
        'starved_ticks': counters.get('starved_ticks', 0),
        'missed_ticks': counters.get('missed_ticks', 0),
        'limited_ticks': counters.get('limited_ticks', 0),
    }
