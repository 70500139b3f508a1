# SPDX-License-Identifier: Apache-2.0
"""
Arrays in MessagePack, as policy servers write them. Nothing is unpickled.

Three ways are in use: openpi's, that of Isaac-GR00T up to N1.7 (a NumPy file), and that of the
package msgpack-numpy, which later servers of GR00T use. All three are read; the caller says which
one to write.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import msgpack
import numpy as np

from async_chunking.errors import AsyncChunkingError

LARGEST = 1 << 24
"""Answer of a server that is read; a longer one ends the connection [bytes]."""


class WireError(AsyncChunkingError):
    """A server sent what is no answer."""


def _openpi(array: np.ndarray) -> dict:
    return {
        b'__ndarray__': True,
        b'data': array.tobytes(),
        b'dtype': array.dtype.str,
        b'shape': array.shape,
    }


def _numpy_file(array: np.ndarray) -> dict:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return {'__ndarray_class__': True, 'as_npy': content.getvalue()}


def _msgpack_numpy(array: np.ndarray) -> dict:
    return {
        b'nd': True,
        b'type': array.dtype.str,
        b'kind': b'',
        b'shape': array.shape,
        b'data': array.tobytes(),
    }


# Name -> how an array is written.
FORMS: dict[str, Callable[[np.ndarray], dict]] = {
    'openpi': _openpi,
    'numpy_file': _numpy_file,
    'msgpack_numpy': _msgpack_numpy,
}


def pack(content: Any, form: str) -> bytes:
    """Return content as MessagePack, its arrays in one of `FORMS`."""
    write = FORMS[form]

    def default(value: Any) -> Any:
        return write(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value

    return msgpack.packb(content, default=default)


def unpack(content: bytes) -> Any:
    """
    Return what MessagePack holds, arrays in whatever form.

    Raises:
        WireError: It is torn, no MessagePack, or an array's size is not what it says.
    """
    try:
        return msgpack.unpackb(content, object_hook=_array, strict_map_key=False)
    except (
        ValueError, TypeError, KeyError, EOFError, MemoryError, RecursionError,
        msgpack.UnpackException,
    ) as error:  # fmt: skip
        msg = f'{len(content)} bytes that are not understood ({error!r})'
        raise WireError(msg) from error


def _array(value: Mapping) -> Any:
    if b'__ndarray__' in value:
        return _shaped(value[b'data'], value[b'dtype'], value[b'shape'])
    if b'__npgeneric__' in value:
        return _plain(value[b'dtype']).type(value[b'data'])
    if b'nd' in value:
        kind = _plain(value[b'type'])
        return (
            _shaped(value[b'data'], kind, value[b'shape'])
            if value[b'nd']
            else np.frombuffer(value[b'data'], kind)[0]
        )
    if '__ndarray_class__' in value:
        return np.lib.format.read_array(io.BytesIO(value['as_npy']), allow_pickle=False)
    return value


def _shaped(data: bytes, kind: Any, shape: Any) -> np.ndarray:
    return np.frombuffer(data, _plain(kind)).reshape(shape)


def _plain(kind: Any) -> np.dtype:
    """Return a type of numbers or text; objects would have to be unpickled."""
    dtype = np.dtype(kind)
    if dtype.hasobject:
        msg = f'arrays of {dtype} are not accepted'
        raise ValueError(msg)
    return dtype
