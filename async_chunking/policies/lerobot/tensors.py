# SPDX-License-Identifier: Apache-2.0
"""Files in the safetensors format, looked at without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.storage import POINTER_HINT, is_pointer

_LARGEST_HEADER = 100_000_000  # [bytes].
_LARGEST_VALUES = 1 << 26  # Of files whose values are read [bytes].
_BEGIN = 8  # Bytes that say how long the header is.
_LINE = 64  # As much tells a file from a pointer to one [bytes].
_DTYPES = {
    'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': '<u2', 'I64': '<i8', 'I32': '<i4',
    'I16': '<i2', 'I8': 'i1', 'U8': 'u1', 'BOOL': '?',
}  # fmt: skip


def check_tensors(file: Path) -> None:
    """
    Refuse a file that is not a whole safetensors file; its values are not read.

    Raises:
        CheckpointError: Names the file and what it is instead.
    """
    _header(file)


def read_tensors(file: Path) -> dict[str, np.ndarray]:
    """
    Return the tensors of a small file by name, as float64.

    Raises:
        CheckpointError: It is missing, no whole safetensors file, too large, or has tensors of
            a type that is not known.
    """
    header, begin = _header(file)
    if (size := file.stat().st_size) > _LARGEST_VALUES:
        raise CheckpointError(f'{file}: {size} bytes, more than statistics can be')
    content = file.read_bytes()[begin:]
    tensors = {}
    for name, about in header.items():
        kind = about['dtype']
        if kind not in _DTYPES:
            msg = f'{file}: {name} has numbers of type {kind}. Known: {", ".join(_DTYPES)}'
            raise CheckpointError(msg)
        first, last = about['data_offsets']
        try:
            values = np.frombuffer(content[first:last], _DTYPES[kind]).reshape(about['shape'])
        except ValueError as error:
            raise CheckpointError(f'{file}: {name} is not what it says ({error})') from error
        if kind == 'BF16':  # The upper half of a float32.
            values = (values.astype('<u4') << 16).view('<f4')
        tensors[name] = values.astype(np.float64)
    return tensors


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """Return name -> what is said of each tensor, and where the values begin [bytes]."""
    try:
        with file.open('rb') as stream:
            first = stream.read(_LINE)
            if is_pointer(first):
                raise ValueError(POINTER_HINT)
            (size,) = struct.unpack('<Q', first[:_BEGIN])
            if size > _LARGEST_HEADER:
                msg = f'its header has {size} bytes'
                raise ValueError(msg)
            stream.seek(_BEGIN)
            header = json.loads(stream.read(size))
        header.pop('__metadata__', None)
        end = max((about['data_offsets'][1] for about in header.values()), default=0)
        begin, total = _BEGIN + size, file.stat().st_size
        if begin + end != total:
            msg = f'it is torn: {total} bytes, its header speaks of {begin + end}'
            raise ValueError(msg)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise CheckpointError(f'{file}: not a safetensors file ({error})') from error
    return header, begin
