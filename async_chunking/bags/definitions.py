# SPDX-License-Identifier: Apache-2.0
"""Message definitions: those of a bag, or the package's own where a bag has none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from rosbags.interfaces.typing import FieldDesc, Typesdict
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from async_chunking.errors import AsyncChunkingError

PACKAGE = 'async_chunking'
_IDL_PART = '=' * 80 + '\nIDL: '


class BagError(AsyncChunkingError):
    """A recording cannot be read or written; the message names the file."""


Definitions = Typesdict


def parse(text: str, name: str, form: str = 'ros2msg') -> Definitions:
    """
    Return the types that a bag's definition text holds.

    Args:
        text: As embedded in a bag, with everything that it refers to.
        name: Type of the message, 'package/msg/Name'.
        form: 'ros2msg' or 'ros2idl'.

    Raises:
        BagError: The text cannot be parsed.
    """
    try:
        if form == 'ros2msg' and not text.lstrip().startswith(_IDL_PART):
            return dict(get_types_from_msg(text, name))
        definitions: Definitions = {}
        # Several files in one text: each begins with its name.
        parts = [part.partition('\n')[2] for part in text.split(_IDL_PART)[1:]]
        for part in parts or [text]:
            definitions.update(get_types_from_idl(part))
        return definitions
    except Exception as error:  # The parser raises many kinds; all mean the same here.
        msg = f'the definition of {name} cannot be parsed: {error}'
        raise BagError(msg) from None


@cache
def own_store() -> Typestore:
    """
    Return the standard types and the package's own messages, from its .msg files.

    Raises:
        BagError: The files are not where an installation puts them.
    """
    store = get_typestore(Stores.ROS2_KILTED)
    for path in sorted(_folder(PACKAGE).glob('*.msg')):
        store.register(get_types_from_msg(path.read_text(), f'{PACKAGE}/msg/{path.stem}'))
    return store


def store_for(name: str) -> Typestore:
    """
    Return a store that knows the message `name`, from the .msg files of the ROS 2 installation.

    Raises:
        BagError: Neither that message nor one that it refers to is known.
    """
    store = own_store()
    definitions: Definitions = {}
    wanted = [name]
    while wanted:
        name = wanted.pop()
        if name in store.fielddefs or name in definitions:
            continue
        package, _, stem = name.split('/')
        path = _folder(package) / f'{stem}.msg'
        if not path.exists():
            msg = f'no definition of {name}: {path} does not exist'
            raise BagError(msg)
        definitions.update(get_types_from_msg(path.read_text(), name))
        wanted += _children(definitions[name][1])
    store.register(definitions)
    return store


def _children(fields: list[tuple[str, FieldDesc]]) -> Iterator[str]:
    for _, (_, description) in fields:
        if isinstance(description, str):
            yield description
        elif isinstance(description[0], tuple):
            yield from _children([('', description[0])])


def _folder(package: str) -> Path:
    """Return where the .msg files of a package are."""
    checkout = Path(__file__).resolve().parents[2]
    if package == PACKAGE and (checkout / 'package.xml').exists():
        return checkout / 'msg'
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    folders = [Path(prefix) / 'share' / package / 'msg' for prefix in prefixes if prefix]
    for folder in folders:
        if folder.is_dir():
            return folder
    msg = f'no .msg files of {package} in {", ".join(map(str, folders))}'
    raise BagError(msg)
