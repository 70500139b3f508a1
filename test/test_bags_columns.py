# SPDX-License-Identifier: Apache-2.0
"""Decoding by columns against the library that decodes message by message."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from async_chunking.bags.columns import decode
from async_chunking.bags.definitions import BagError, own_store, parse, store_for

STORE = own_store()
CHUNK = 'async_chunking/msg/ActionChunk'
KINDS = [
    f'async_chunking/msg/{name}'
    for name in ('ActionChunk', 'ChunkRequest', 'ControlStep', 'DelayEstimate')
]


def random_value(description, rng: np.random.Generator):
    """A random value of a field, as rosbags describes it."""
    node, detail = description
    if node.name == 'NAME':
        return random_message(detail, rng)
    if node.name == 'SEQUENCE':
        size = int(rng.integers(0, 4)) * 7
        if detail[0][1][0] == 'string':
            return [random_value(detail[0], rng) for _ in range(size)]
        kind = np.dtype(detail[0][1][0])
        return rng.normal(size=size).astype(kind)
    kind = detail[0]
    if kind == 'string':
        return 'é' * int(rng.integers(0, 5))
    if kind == 'bool':
        return bool(rng.integers(2))
    if kind.startswith('float'):
        return float(np.dtype(kind).type(rng.normal()))
    bounds = np.iinfo(kind)
    return int(rng.integers(bounds.min, bounds.max, dtype=kind))


def random_message(kind: str, rng: np.random.Generator):
    return STORE.types[kind](**{
        name: random_value(description, rng) for name, description in STORE.fielddefs[kind][1]
    })  # fmt: skip


def field(message, path: str):
    for name in path.split('.'):
        message = getattr(message, name)
    return message


@pytest.mark.parametrize('little_endian', [True, False])
@pytest.mark.parametrize('kind', KINDS)
def test_columns_hold_what_the_library_reads(kind, little_endian):
    rng = np.random.default_rng(0)
    messages = [
        bytes(STORE.serialize_cdr(random_message(kind, rng), kind, little_endian=little_endian))
        for _ in range(60)
    ]
    seen = set()
    for group in decode(messages, STORE.fielddefs, kind):
        for place, index in enumerate(group.index.tolist()):
            expected = STORE.deserialize_cdr(messages[index], kind)
            for path, array in group.arrays.items():
                np.testing.assert_array_equal(array[place], field(expected, path))
            for path, text in group.texts.items():
                assert text == field(expected, path)
            seen.add(index)
    assert seen == set(range(60))


def test_messages_of_one_layout_are_one_group():
    rng = np.random.default_rng(0)
    message = random_message(CHUNK, rng)
    messages = []
    for number in range(50):
        message.request_id = number
        messages.append(bytes(STORE.serialize_cdr(message, CHUNK)))
    (group,) = decode(messages, STORE.fielddefs, CHUNK)
    assert group['request_id'].tolist() == list(range(50))


def test_equal_size_does_not_mean_equal_layout():
    """Two strings of 4 and 0 letters or 0 and 4 make messages of the same size."""
    types = parse('string a\nstring b\nuint8 c\n', 'some/msg/Two')
    one = struct.pack('<4sI5s3xI1sB', b'\0\1\0\0', 5, b'abcd\0', 1, b'\0', 7)
    two = struct.pack('<4sI1s3xI5sB', b'\0\1\0\0', 1, b'\0', 5, b'wxyz\0', 8)
    groups = {g.texts['a']: g for g in decode([one, two], types, 'some/msg/Two')}
    assert groups['abcd']['c'].tolist() == [7]
    assert (groups['']['c'].tolist(), groups[''].texts['b']) == ([8], 'wxyz')


@pytest.mark.parametrize('cut', [0, 3, 4, 11, 60])
def test_a_message_that_is_cut_off_is_an_error_not_a_crash(cut):
    message = random_message(CHUNK, np.random.default_rng(3))
    whole = bytes(STORE.serialize_cdr(message, CHUNK))
    with pytest.raises(BagError):
        list(decode([whole[:cut]], STORE.fielddefs, CHUNK))


def test_a_length_that_lies_is_an_error_not_a_hang():
    types = parse('float64[] a\n', 'some/msg/Many')
    with pytest.raises(BagError, match='does not follow its definition'):
        list(decode([struct.pack('<4sI', b'\0\1\0\0', 2**32 - 1)], types, 'some/msg/Many'))


def test_any_mutation_of_bytes_is_read_or_refused():
    rng = np.random.default_rng(5)
    whole = bytes(STORE.serialize_cdr(random_message(CHUNK, rng), CHUNK))
    for _ in range(300):
        broken = bytearray(whole)
        for place in rng.integers(0, len(broken), 3):
            broken[place] = rng.integers(256)
        try:
            list(decode([whole, bytes(broken)], STORE.fielddefs, CHUNK))
        except BagError:
            continue


def test_a_missing_field_names_itself():
    types = parse('uint8 c\n', 'some/msg/One')
    (group,) = decode([b'\0\1\0\0\7'], types, 'some/msg/One')
    with pytest.raises(BagError, match='no field tick: recorded by another version'):
        group['tick']


def test_definitions_can_be_idl():
    text = (
        'module some { module msg { struct Point {\n'
        '  double x;\n  sequence<float> values;\n}; }; };\n'
    )
    header = '=' * 80 + '\nIDL: some/msg/Point\n'
    for form in (text, header + text):
        types = parse(form, 'some/msg/Point', 'ros2idl')
        raw = struct.pack('<4sdIff', b'\0\1\0\0', 1.5, 2, 1.0, 2.0)
        (group,) = decode([raw], types, 'some/msg/Point')
        assert group['x'].tolist() == [1.5]
        assert group['values'].tolist() == [[1.0, 2.0]]


def test_definitions_that_cannot_be_parsed_or_found_say_so():
    with pytest.raises(BagError, match='definition of some/msg/X cannot be parsed'):
        parse('float32[ a', 'some/msg/X')
    with pytest.raises(BagError, match=r'no \.msg files of unheard_of'):
        store_for('unheard_of/msg/X')
