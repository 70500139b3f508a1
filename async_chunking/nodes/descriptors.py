# SPDX-License-Identifier: Apache-2.0
"""What `ros2 param describe` shows of a parameter: its range, its choices, when it may change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

_LARGEST = 2**63 - 1


def descriptor(field: FieldInfo) -> ParameterDescriptor:
    """Return the descriptor of a model's field; dynamic typing, so that 50 serves as 50.0."""
    runtime = (field.json_schema_extra or {}).get('runtime', False)
    described = ParameterDescriptor(
        description=field.description or '',
        dynamic_typing=True,
        read_only=not runtime,
        additional_constraints='; '.join(_words(field)),
    )
    low, high = _bound(field, 'ge', 'gt'), _bound(field, 'le', 'lt')
    if (low, high) != (None, None) and field.annotation is int:
        low, high = -_LARGEST if low is None else low, _LARGEST if high is None else high
        described.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    elif (low, high) != (None, None):
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        described.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high))
        ]
    return described


def _bound(field: FieldInfo, *names: str) -> float | None:
    values = (getattr(entry, name, None) for entry in field.metadata for name in names)
    return next((value for value in values if value is not None), None)


def _words(field: FieldInfo) -> Iterator[str]:
    """Yield what a range cannot say: it includes its ends, and texts have none."""
    for name, word in (('gt', 'greater than'), ('lt', 'less than')):
        if (bound := _bound(field, name)) is not None:
            yield f'{word} {bound:g}'
    if get_origin(field.annotation) is Literal:
        choices: tuple[Any, ...] = get_args(field.annotation)
        yield f'one of {", ".join(map(str, choices))}'
