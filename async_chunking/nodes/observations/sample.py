# SPDX-License-Identifier: Apache-2.0
"""One reading of a stream."""

from __future__ import annotations

from typing import Any, NamedTuple


class Sample(NamedTuple):
    """One reading, and when it was received on this host's clock [ns].

    `values` is an array, a text, or a `pictures.Picture`.
    """

    received_ns: int
    values: Any
