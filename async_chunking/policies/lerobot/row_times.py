# SPDX-License-Identifier: Apache-2.0
"""
A flow time for each row, for networks of LeRobot that take one for all.

π0 and SmolVLA lay an embedding of the time beside each row before their first layer: a hook puts
each row's own there. π0.5 scales each token by the time: hooks around its norms hand the rows over
as so many elements of a batch, each with its time. Where π0.5 takes times [B, H] by itself, as
releases after 0.6 do, it is left to it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.lerobot.checkpoint import TRAINED_DELAY


class RowTimes:
    """
    Hooks in a network that do nothing but while times are given.

    Args:
        model: The network inside LeRobot's policy, with `denoise_step`.

    Raises:
        CheckpointError: It has neither of the layers that take the time.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._times: Tensor | None = None
        norms = [m for m in model.modules() if getattr(m, 'cond_dim', None) is not None]
        self._native = bool(norms) and hasattr(getattr(model, 'config', None), TRAINED_DELAY)
        self._by_norms = bool(norms)
        if self._native:
            return
        for norm in norms:
            norm.register_forward_pre_hook(self._apart, with_kwargs=True)
            norm.register_forward_hook(self._together)
        if not norms:
            layer = getattr(model, 'action_time_mlp_in', None)
            if not isinstance(layer, nn.Linear):
                msg = (
                    f'{type(model).__name__} has no action_time_mlp_in and no norms with a time; '
                    'this release of lerobot is unknown'
                )
                raise CheckpointError(msg)
            layer.register_forward_pre_hook(self._beside)

    @contextlib.contextmanager
    def given(self, flow_time: Tensor) -> Iterator[Tensor]:
        """Yield the time to call `denoise_step` with, for times [B] or [B, H]."""
        if flow_time.ndim == 1 or self._native:
            yield flow_time
            return
        self._times = flow_time
        try:
            yield flow_time.flatten() if self._by_norms else flow_time[:, 0]
        finally:
            self._times = None

    def _apart(self, _norm: nn.Module, given: tuple, options: dict) -> tuple[tuple, dict] | None:
        return None if self._times is None else ((given[0].flatten(0, 1), *given[1:]), options)

    def _together(self, _norm: nn.Module, _given: tuple, modulation: tuple) -> tuple | None:
        if self._times is None:
            return None
        return tuple(values.unflatten(0, self._times.shape) for values in modulation)

    def _beside(self, _layer: nn.Module, given: tuple) -> tuple | None:
        if self._times is None:
            return None
        (rows,) = given
        half = rows.shape[-1] // 2
        time = self._embedded(self._times.flatten(), half).unflatten(0, self._times.shape)
        return (torch.cat((rows[..., :half], time.to(rows.dtype)), -1),)

    def _embedded(self, times: Tensor, width: int) -> Tensor:
        """Return LeRobot's embedding [N, width] of times [N]."""
        embed = sys.modules[type(self._model).__module__].create_sinusoidal_pos_embedding
        periods = self._model.config.min_period, self._model.config.max_period
        return embed(times, width, *periods, device=times.device)
