# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in half precision: half the size, and the same policy but for rounding."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('torch')

import torch
from test_checkpoint import make_policy
from tools_command import invoke

from async_chunking.policies.checkpoint.weights import load_policy, save_policy


def test_a_halved_checkpoint_is_small_and_nearly_the_same(tmp_path: Path) -> None:
    folder = tmp_path / 'viperx_slalom'
    policy = make_policy()
    save_policy(folder / 'flow', policy, 'flow')
    before = (folder / 'flow.safetensors').stat().st_size
    result = invoke('policies', '--only-halve', '--out', str(tmp_path), '--task', folder.name)
    assert result.exit_code == 0, result.output
    # The header that names the tensors stays.
    assert (folder / 'flow.safetensors').stat().st_size < 0.75 * before
    loaded = load_policy(folder / 'flow')
    for name, value in policy.network.state_dict().items():
        again = loaded.network.state_dict()[name]
        assert again.dtype == torch.float32
        torch.testing.assert_close(again, value, rtol=1e-3, atol=1e-4)


def test_a_weight_that_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    policy = make_policy()
    with torch.no_grad():
        next(iter(policy.network.parameters())).view(-1)[0] = 1e6
    save_policy(tmp_path / 'task' / 'flow', policy, 'flow')
    result = invoke('policies', '--only-halve', '--out', str(tmp_path), '--task', 'task')
    assert 'beyond half precision' in str(result.exception)


def test_an_unknown_recipe_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    result = invoke('policies', '--out', str(tmp_path), '--recipe', 'remack')
    assert "'remack'" in str(result.exception)
    assert not list(tmp_path.iterdir())
