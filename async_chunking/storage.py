# SPDX-License-Identifier: Apache-2.0
"""Files that are either as they were or complete, whatever happens while they are written."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from async_chunking.errors import AsyncChunkingError

TEXT = 1 << 24
"""What a text that describes something may be long [bytes]."""


POINTER_HINT = 'a pointer of Git LFS: fetch the file itself'
"""What is said of a file that a checkout without LFS has instead of a large one."""


def is_pointer(content: bytes) -> bool:
    """Return whether a file that begins so is a pointer of Git LFS."""
    return content.startswith(b'version https://git-lfs')


class StorageError(AsyncChunkingError):
    """A file could not be written; what was there before is untouched."""


def sha256(content: bytes) -> str:
    """Return the SHA-256 of `content` as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def read_file(path: Path, most: int = TEXT) -> bytes:
    """
    Return what a file holds.

    Args:
        path: Place of the file; nothing waits for what only looks like one, such as a pipe.
        most: Bytes that are read.

    Raises:
        OSError: It cannot be read, is no file, or is longer; `strerror` says so.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, 'not a file', str(path))
        if status.st_size > most:
            reason = f'{status.st_size} bytes, at most {most} are read'
            raise OSError(errno.EFBIG, reason, str(path))
        with open(descriptor, 'rb', closefd=False) as file:
            return file.read(status.st_size)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """
    Return what a JSON file holds.

    Raises:
        OSError: As `read_file` does.
        ValueError: It is no JSON, or nested too deep.
    """
    try:
        return json.loads(read_file(path))
    except RecursionError:
        msg = 'nested too deep'
        raise ValueError(msg) from None


def write_files(files: Mapping[Path, bytes]) -> None:
    """
    Write files that belong together: all contents reach the disk before any file is replaced.

    Raises:
        StorageError: The disk is full or the folder cannot be written; every file is as it was.
    """
    temporary = {path: path.with_name(f'.{path.name}.{os.getpid()}') for path in files}
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary[path].open('wb') as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path in files:
            temporary[path].replace(path)
        for folder in {path.parent for path in files}:
            _sync_folder(folder)
    except OSError as error:
        names = ', '.join(map(str, files))
        msg = f'could not write {names}: {error.strerror or error}; the last good files are kept'
        raise StorageError(msg) from error
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_new(path: Path) -> None:
    """
    Refuse to write over a file.

    Raises:
        AsyncChunkingError: Something is there.
    """
    if path.exists():
        msg = f'{path} exists already; choose another file'
        raise AsyncChunkingError(msg)


def write_json(content: Any, path: Path) -> None:
    """
    Write strict JSON; numbers that are unknown become null.

    Raises:
        StorageError: See `write_files`.
    """
    write_files({path: json_bytes(content)})


def json_bytes(content: Any) -> bytes:
    """Return strict JSON, for files that are written together with others; see `write_json`."""
    text = json.dumps(_without_nan(content), indent=2, allow_nan=False)
    return (text + '\n').encode()


def _without_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_nan(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
