# SPDX-License-Identifier: Apache-2.0
"""Write recordings (MCAP, as rosbag2 does) of which a sudden end costs the last second only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Qos
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError

from async_chunking.bags.definitions import BagError, store_for

_DISTRO = 'ros_distro'


class BagWriter:
    """
    Writes serialized messages to a new folder, with the definitions that are needed to read them.

    Args:
        path: The folder; must not exist.

    Raises:
        BagError: The folder exists or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
        except (WriterError, OSError) as error:
            msg = f'cannot record to {path}: {error}'
            raise BagError(msg) from None
        self._connections: dict[str, Any] = {}
        self.count = 0

    def add(self, topic: str, kind: str, qos: Sequence[Qos] = ()) -> None:
        """
        Announce a topic.

        Raises:
            BagError: The definition of its type `kind`, 'package/msg/Name', is not found.
        """
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=store_for(kind), offered_qos_profiles=qos
            )

    def write(self, topic: str, stamp: int, data: bytes) -> None:
        """
        Write a message of an announced topic, received at `stamp` [ns].

        Raises:
            OSError: The disk is full or broken.
        """
        self._writer.write(self._connections[topic], stamp, data)
        self.count += 1

    def flush(self) -> None:
        """
        Hand everything so far to the operating system, so that a sudden end does not lose it.

        Raises:
            OSError: The disk is full or broken.
        """
        # The library ends a block only when it is full, about every minute of a small robot.
        storage: Any = self._writer.storage
        if storage.chunk.msgs:
            storage.close_chunk()
        storage.bio.flush()

    def close(self) -> None:
        """
        Finish the file, and write metadata.yaml.

        Raises:
            OSError: The disk is full or broken; what was flushed stays readable.
        """
        try:
            self._writer.close()
            self._name_distribution()
        except OSError:
            self.abort()
            raise

    def _name_distribution(self) -> None:
        """Say in metadata.yaml which ROS 2 wrote the messages; the library names itself."""
        distribution = os.environ.get('ROS_DISTRO')
        if distribution:
            file = self._path / 'metadata.yaml'
            text = file.read_text(encoding='utf-8')
            file.write_text(text.replace(f'{_DISTRO}: rosbags', f'{_DISTRO}: {distribution}'))

    def abort(self) -> None:
        """Leave the file as it is."""
        with contextlib.suppress(OSError):  # Its last block does not fit on the disk either.
            self._writer.abort()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
