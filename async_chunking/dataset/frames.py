# SPDX-License-Identifier: Apache-2.0
"""The frames of a data set: parquet columns as arrays of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from async_chunking.dataset.info import DataError

_WHOLE = 2.0**24  # Beyond, 32 bits have not every whole number.
_REQUIRED = ('episode_index', 'frame_index', 'action', 'observation.state')


def read_table(path: Path, by_file: bool = False) -> pa.Table:
    """
    Return all frames of a data set, in the order in which they are in its files.

    Files may differ in the order of columns, in the precision of numbers and in the kind of lists.

    Args:
        path: Folder of the data set.
        by_file: Each file holds one episode, as in LeRobotDataset v2.

    Raises:
        DataError: There are none, a file is torn, a column is missing or there twice, or files
            hold the same episode.
    """
    files = sorted((path / 'data').rglob('*.parquet'))
    tables = [_read(file) for file in files]
    try:
        same = all(table.schema.equals(tables[0].schema) for table in tables)
        parts = tables if same else [_plain(table) for table in tables]
        table = pa.concat_tables(parts, promote_options='permissive') if parts else pa.table({})
    except pa.ArrowException as error:
        msg = f'{path}/data: the parquet files differ in columns ({error})'
        raise DataError(msg) from error
    if not table.num_rows:
        msg = f'{path} has no frames: {len(files)} parquet files under {path}/data. Record some'
        raise DataError(msg)
    if missing := [name for name in _REQUIRED if name not in table.column_names]:
        msg = f'{path}: no column {missing[0]!r}. Columns: {", ".join(table.column_names)}'
        raise DataError(msg)
    _check_files(files, [vector(part, 'episode_index', path) for part in tables], by_file)
    return table


def _read(file: Path) -> pa.Table:
    try:
        names = pq.read_schema(file).names
        if twice := [name for name in names if names.count(name) > 1]:
            msg = f'{file}: the column {twice[0]} is there twice'
            raise DataError(msg)
        return pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        msg = f'{file}: this parquet file is torn ({error})'
        raise DataError(msg) from error


def _plain(table: pa.Table) -> pa.Table:
    """Return the same with lists of one kind, and all numbers in them in double precision."""
    columns = {name: table.column(name) for name in table.column_names}
    return pa.table({name: column.cast(_wide(column.type)) for name, column in columns.items()})


def _wide(kind: pa.DataType) -> pa.DataType:
    if hasattr(kind, 'value_type') and pa.types.is_nested(kind):
        return pa.list_(_wide(kind.value_type))
    return pa.float64() if pa.types.is_floating(kind) else kind


def _check_files(files: Sequence[Path], episodes: Sequence[np.ndarray], by_file: bool) -> None:
    """Refuse an episode in two files, unless one ends with it and the next begins with it."""
    held: dict[float, int] = {}
    for place, numbers in enumerate(episodes):
        for number in np.unique(numbers).tolist():
            before = held.get(number)
            held[number] = place
            if before is None:
                continue
            goes_on = before == place - 1 and {episodes[before][-1], numbers[0]} == {number}
            if by_file or not goes_on:
                msg = (
                    f'{files[place]}: episode {number:g} is in {files[before]} too: two data sets '
                    'were put together, or one file was copied. Number the episodes anew'
                )
                raise DataError(msg)


def numeric(table: pa.Table) -> list[str]:
    """Return the columns that are numbers: the action and what is observed."""
    return [
        field.name
        for field in table.schema
        if (field.name == 'action' or field.name.startswith('observation.'))
        and _is_number(_leaf(field.type))
    ]


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind)


def _leaf(kind: pa.DataType) -> pa.DataType:
    """Return what a list, or a list of lists, is made of."""
    while hasattr(kind, 'value_type') and pa.types.is_nested(kind):
        kind = kind.value_type
    return kind


def vector(table: pa.Table, name: str, path: Path) -> np.ndarray:
    """
    Return a column of single numbers [N].

    Raises:
        DataError: Something else is in it, or nothing.
    """
    column = table.column(name)
    if pa.types.is_nested(column.type) and not column.null_count:
        rows = column.to_pylist()
        if all(len(row) == 1 for row in rows):  # LeRobot may write a number as a list of one.
            column = pa.chunked_array([[row[0] for row in rows]], type=column.type.value_type)
    if not _is_number(column.type) or column.null_count:
        msg = f'{path}: {name} is of type {column.type} with {column.null_count} empty rows'
        raise DataError(f'{msg}; each frame has one number')
    return column.to_numpy()


def index(table: pa.Table, name: str, path: Path) -> np.ndarray:
    """
    Return a column of counts [N].

    Raises:
        DataError: One is no count.
    """
    values = vector(table, name, path)
    counts = values.astype(np.int64)
    wrong = np.flatnonzero((counts != values) | (counts < 0))
    if wrong.size:
        msg = f'{path}: {name} is {values[wrong[0]]} in row {wrong[0]}; it must count from 0'
        raise DataError(msg)
    return counts


def matrix(table: pa.Table, name: str, path: Path) -> tuple[np.ndarray, tuple[int, ...]]:
    """
    Return numbers of any shape as rows [N, size], and the shape of each.

    What is empty is NaN; a row that is empty altogether has another shape.

    Raises:
        DataError: Rows differ in shape, which names the frame; or 32 bits are too few for them.
    """
    column = table.column(name)
    if not pa.types.is_nested(column.type):
        return _narrow(column.to_numpy(), f'{path}: {name}')[:, None], (1,)
    deep = pa.types.is_nested(column.type.value_type)
    rows = column.to_pylist() if deep else column.to_numpy(zero_copy_only=False)
    arrays = [_array(row) for row in rows]
    shapes = [None if array is None else array.shape for array in arrays]
    wrong = [
        at for at, shape in enumerate(shapes) if shape != shapes[0] or not (shape and all(shape))
    ]
    if wrong:
        at = wrong[0]
        episode, frame = (table.column(f'{key}_index')[at].as_py() for key in ('episode', 'frame'))
        msg = (
            f'{path}: {name} has {_shown(shapes[at])} in episode {episode}, frame {frame}, '
            f'{_shown(shapes[0]).removesuffix(" numbers")} before'
        )
        raise DataError(msg)
    there = [array for array in arrays if array is not None]  # All of them: none is wrong.
    return np.stack(there).reshape(len(there), -1), shapes[0]


def _narrow(values: np.ndarray, what: str) -> np.ndarray:
    """Return numbers in 32 bits, in which times since 1970 would all be the same."""
    there = values[np.isfinite(values)]
    if np.abs(there).max(initial=0) > _WHOLE and np.ptp(there):
        msg = (
            f'{what} goes from {there.min():.12g} to {there.max():.12g}, which 32 bits do not '
            'tell apart; leave it out, or count from the begin of each episode'
        )
        raise DataError(msg)
    return values.astype(np.float32)


def _array(row: Any) -> np.ndarray | None:
    """Return the numbers of a row; None where there are none, or they are no matrix."""
    try:
        return None if row is None else np.asarray(row, dtype=np.float32)
    except ValueError:
        return None


def _shown(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return 'no numbers, or rows of unequal length'
    return f'{"x".join(map(str, shape))} numbers'
