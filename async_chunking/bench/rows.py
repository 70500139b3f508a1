# SPDX-License-Identifier: Apache-2.0
"""Rows of results: one per rollout, in Parquet shards that are whole or absent.

A shard holds the rows of one unit of work and is named after it. What has been done is what is
there, so a sweep that was interrupted, or grew, continues without losing or repeating a row.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from async_chunking.bench.sweep import Cell, Unit
from async_chunking.errors import AsyncChunkingError
from async_chunking.executor import Phase
from async_chunking.metrics import summarize
from async_chunking.metrics.record import Run
from async_chunking.storage import write_files

Row = dict[str, Any]

SCHEMA = pa.schema(
    [
        ('cell', pa.string()),  # Digest of the condition; with `rollout` it identifies the row.
        ('task', pa.string()),
        ('policy', pa.string()),  # Digest of the checkpoints.
        ('strategy', pa.string()),
        ('horizon', pa.int32()),  # [steps], as all of these:
        ('execution_horizon', pa.int32()),
        ('delay', pa.int32()),  # Nominal; how it varies is in the next two.
        ('delay_truth', pa.string()),
        ('delay_told', pa.string()),
        ('seed', pa.int32()),
        ('rollout', pa.int32()),  # Rows with equal seed and rollout had the same episode.
        ('success', pa.bool_()),
        ('failure', pa.string()),  # In the task's words, empty with success.
        ('completion_time_s', pa.float32()),  # NaN without success.
        ('consistency_rad', pa.float32()),  # CON, mean absolute; NaN without delay.
        ('consistency_l2_rad', pa.float32()),
        ('seam_jump_rad', pa.float32()),  # Mean over the takeovers.
        ('seam_jump_max_rad', pa.float32()),
        ('command_jerk_rad_s3', pa.float32()),  # Root mean square.
        ('measured_jerk_rad_s3', pa.float32()),
        ('ticks', pa.int32()),
        ('starved_ticks', pa.int32()),
        ('limited_ticks', pa.int32()),
        ('chunks', pa.int32()),  # Drawn.
        ('takeovers', pa.int32()),
        ('late_chunks', pa.int32()),
        ('rejected_chunks', pa.int32()),
        ('calls', pa.int32()),  # Velocity evaluations for all chunks.
        ('waiting_ticks', pa.int32()),  # At rest on purpose, as `sync`; older rows lack it.
    ]
)
"""What a row says. A bench with an environment of its own (Kinetix) may leave figures null."""

LATER = frozenset({'waiting_ticks'})
"""Columns that older files lack; null there."""


CONDITION = (
    'task', 'strategy', 'horizon', 'execution_horizon', 'delay', 'delay_truth', 'delay_told',
)  # fmt: skip
"""What a cell is in a table; its key also holds the policy and the seed."""


class RowsError(AsyncChunkingError):
    """There are no rows, or a file is not a table of rows."""


def row_of(cell: Cell, rollout: int, run: Run, calls: int, failure: str = '') -> Row:
    """Return the row of one rollout; `calls` are its velocity evaluations."""
    figures = summarize(run)
    return {
        'cell': cell.key,
        'task': cell.task,
        'policy': cell.policy,
        'strategy': cell.strategy,
        'horizon': cell.horizon,
        'execution_horizon': cell.execution_horizon,
        'delay': cell.delay.steps,
        'delay_truth': cell.delay.truth,
        'delay_told': cell.delay.told,
        'seed': cell.seed,
        'rollout': rollout,
        'failure': failure,
        'chunks': len(run.exchanges),
        'calls': calls,
        'waiting_ticks': int((run.phase == Phase.WAITING).sum()),
        **{name: figures[name] for name in SCHEMA.names if name in figures and name != 'strategy'},
    }


class Shards:
    """A folder of shards.

    Args:
        folder: Made when the first shard is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def missing(self, units: Iterable[Unit]) -> list[Unit]:
        """Return the units of which there is no shard yet, in their order."""
        there = {path.stem for path in self.folder.glob('*.parquet')}
        return [unit for unit in units if unit.name not in there]

    def write(self, unit: Unit, rows: Sequence[Row]) -> None:
        """Write a unit's rows, all or none.

        Raises:
            StorageError: The disk is full or the folder cannot be written.
        """
        write_files({self.folder / f'{unit.name}.parquet': encode(rows)})

    def read(self, units: Iterable[Unit]) -> list[Row]:
        """Return the rows of those units that are there."""
        paths = (self.folder / f'{unit.name}.parquet' for unit in units)
        return [row for path in paths if path.exists() for row in _table(path).to_pylist()]


def encode(rows: Sequence[Row]) -> bytes:
    """Return rows as a Parquet file; equal rows give equal bytes."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), buffer, compression='zstd')
    return buffer.getvalue()


def read(place: Path) -> list[Row]:
    """Return all rows of a file or of all files in a folder, each (cell, rollout) once.

    Raises:
        RowsError: There are none, or a file is not a table of rows.
    """
    paths = sorted(place.rglob('*.parquet')) if place.is_dir() else [place]
    rows = {
        (row['cell'], row['rollout']): row for path in paths for row in _table(path).to_pylist()
    }
    if not rows:
        raise RowsError(
            f'{place} holds no rows (*.parquet). Run `async-chunking bench delay` first'
        )
    return list(rows.values())


def renewed(older: Sequence[Row], newer: Sequence[Row]) -> list[Row]:
    """
    Return rows in which those of the same conditions are replaced, whatever policy played them.

    What is stored of many strategies so stays of the code as it stands where one was changed.
    """
    conditions = {tuple(row[name] for name in CONDITION) for row in newer}
    kept = [row for row in older if tuple(row[name] for name in CONDITION) not in conditions]
    return [*kept, *newer]


def _table(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise RowsError(f'{path} is not a Parquet file: {error}') from None
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if lost := [name for name in missing if name not in LATER]:
        raise RowsError(f'{path} lacks the columns {", ".join(lost)}')
    for name in missing:
        column = SCHEMA.field(name)
        table = table.append_column(column, pa.nulls(len(table), column.type))
    return table
