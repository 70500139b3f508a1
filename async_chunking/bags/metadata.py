# SPDX-License-Identifier: Apache-2.0
"""What the recorder wrote beside a recording: which files there are, and how much is in them."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import yaml

from async_chunking.settings import parse_yaml
from async_chunking.storage import read_file

_NEWEST = 9  # Version of metadata.yaml.


class Metadata(NamedTuple):
    """
    What a metadata.yaml says.

    Attributes:
        files: Names of the files in order; none where they are not told.
        counts: Topic -> how many messages were recorded; none where that is odd.
    """

    files: list[str]
    counts: dict[str, int]


def read_metadata(path: Path, problems: list[str]) -> Metadata:
    """Read a recorder's metadata; what is wrong with them is added to the problems."""
    try:
        content: Any = parse_yaml(read_file(path).decode())
        information = content['rosbag2_bagfile_information']
        version = int(information['version'])
        names = information['relative_file_paths']
        if not isinstance(names, list):
            msg = f'relative_file_paths is {names!r}, not a list'
            raise TypeError(msg)
        listed = [PureWindowsPath(name).name for name in names]  # Either kind of slash.
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        problems.append(f'{path}: not metadata of a recording, files read without it ({error!r})')
        return Metadata([], {})
    if version > _NEWEST:
        problems.append(
            f'{path}: version {version} is newer than the newest known, {_NEWEST}; read as that'
        )
    problems += [
        f'{path}: the file {name} is missing'
        for name in sorted(listed)
        if not any((path.parent / twin).exists() for twin in twins(name))
    ]
    return Metadata(listed, _counts(information))


def _counts(information: Any) -> dict[str, int]:
    try:
        topics = information['topics_with_message_count']
        return {t['topic_metadata']['name']: int(t['message_count']) for t in topics}
    except (KeyError, TypeError, ValueError):
        return {}


def twins(name: str) -> tuple[str, str]:
    """Return the names of a file as it is and compressed."""
    plain = name.removesuffix('.zstd')
    return plain, f'{plain}.zstd'
