# SPDX-License-Identifier: Apache-2.0
"""
A small policy in the shape of π0, with random weights and the interface of LeRobot's.

Images and words go through a PaliGemma once; a second stack of layers, the action expert, attends
to the keys and values that the first one left, and to itself. Its time is 1 at noise and 0 at
actions. `joint` computes the same without a cache, both stacks side by side as in training.
"""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

HORIZON, DIM, WIDE = 6, 3, 5  # The network has two columns to spare.
CAMERA, STATE, TOKENS, MASK = 'observation.images.front', 'observation.state', 'tokens', 'mask'
EXPECTS = {STATE: (4,), CAMERA: (16, 16, 3), 'task': ()}
_LAYERS, _HEADS, _HEAD_DIM = 2, 2, 8
_GEMMA = {
    'num_hidden_layers': _LAYERS, 'num_attention_heads': _HEADS, 'num_key_value_heads': 1,
    'head_dim': _HEAD_DIM, 'vocab_size': 32,
}  # fmt: skip


class Pi0Shaped(nn.Module):
    def __init__(self) -> None:
        from transformers import GemmaConfig, GemmaModel, PaliGemmaConfig, PaliGemmaModel

        super().__init__()
        vision = {
            'hidden_size': 16, 'intermediate_size': 32, 'num_hidden_layers': 1, 'patch_size': 8,
            'num_attention_heads': 2, 'image_size': 16, 'projection_dim': 24,
            'model_type': 'siglip_vision_model',
        }  # fmt: skip
        words = {**_GEMMA, 'hidden_size': 24, 'intermediate_size': 48, 'model_type': 'gemma'}
        self.paligemma = PaliGemmaModel(
            PaliGemmaConfig(vision_config=vision, text_config=words, projection_dim=24)
        )
        self.expert = GemmaModel(GemmaConfig(**_GEMMA, hidden_size=20, intermediate_size=40))
        self.state_in = nn.Linear(4, 20)
        self.actions_in = nn.Linear(WIDE, 20)
        self.action_time_mlp_in = nn.Linear(40, 20)
        self.config = SimpleNamespace(min_period=4e-3, max_period=4.0)
        self.actions_out = nn.Linear(20, WIDE)
        self.prefixes = 0

    def embed_prefix(self, image: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        self.prefixes += 1
        vision = self.paligemma.vision_tower(image).last_hidden_state
        seen = self.paligemma.multi_modal_projector(vision)
        said = self.paligemma.language_model.embed_tokens(tokens)
        there = torch.ones(seen.shape[:2], dtype=torch.bool)
        return torch.cat([seen, said], 1), torch.cat([there, mask], 1)

    def embed_suffix(self, state: Tensor, x: Tensor, time: Tensor) -> Tensor:
        when = create_sinusoidal_pos_embedding(time, 20, 4e-3, 4.0, device=x.device)
        rows = torch.cat([self.actions_in(x), when[:, None].expand(-1, x.shape[1], -1)], -1)
        return torch.cat([self.state_in(state)[:, None], self.action_time_mlp_in(rows)], 1)

    def prefill(self, prefix: Tensor, mask: Tensor) -> Any:
        from transformers import DynamicCache

        cache = DynamicCache()
        allowed = mask[:, None, :].expand(-1, mask.shape[1], -1)
        positions = mask.cumsum(1) - 1
        _run([self.paligemma.language_model], [prefix], positions, allowed, cache)
        return cache

    def denoise_step(
        self, state: Tensor, prefix_pad_masks: Tensor, past_key_values: Any, x_t: Tensor,
        timestep: Tensor,
    ) -> Tensor:  # fmt: skip
        suffix = self.embed_suffix(state, x_t, timestep)
        rows = suffix.shape[1]
        to_prefix = prefix_pad_masks[:, None, :].expand(-1, rows, -1)
        allowed = torch.cat([to_prefix, _causal_state(rows).expand(len(suffix), -1, -1)], 2)
        positions = prefix_pad_masks.sum(1, keepdim=True) + torch.arange(rows)
        cache = copy.deepcopy(past_key_values)
        (out,) = _run([self.expert], [suffix], positions, allowed, cache)
        return self.actions_out(self.expert.norm(out)[:, 1:])

    def joint(self, batch: dict[str, Tensor], x: Tensor, time: Tensor) -> Tensor:
        """Return the same as `denoise_step`, from both stacks at once and without a cache."""
        prefix, mask = self.embed_prefix(batch[CAMERA], batch[TOKENS], batch[MASK])
        suffix = self.embed_suffix(batch[STATE], x, time)
        first, rows = prefix.shape[1], suffix.shape[1]
        allowed = torch.zeros(len(x), first + rows, first + rows, dtype=torch.bool)
        allowed[:, :, :first] = mask[:, None, :]
        allowed[:, first:, first:] = _causal_state(rows)
        positions = torch.cat([mask, torch.ones(len(x), rows, dtype=torch.bool)], 1).cumsum(1) - 1
        models = [self.paligemma.language_model, self.expert]
        _, out = _run(models, [prefix, suffix], positions, allowed)
        return self.actions_out(self.expert.norm(out)[:, 1:])


def create_sinusoidal_pos_embedding(
    time: Tensor, width: int, min_period: float, max_period: float, device: Any
) -> Tensor:
    """Return sines and cosines [B, width] of times [B], under LeRobot's name for them."""
    share = torch.linspace(0.0, 1.0, width // 2, device=device)
    waves = time[:, None] * 2 * math.pi / (min_period * (max_period / min_period) ** share)
    return torch.cat([waves.sin(), waves.cos()], -1)


def _causal_state(rows: int) -> Tensor:
    """Actions see the state and each other; the state sees no action."""
    allowed = torch.ones(rows, rows, dtype=torch.bool)
    allowed[0, 1:] = False
    return allowed


def _run(
    models: list[Any], streams: list[Tensor], positions: Tensor, allowed: Tensor, cache: Any = None
) -> list[Tensor]:
    """Run stacks of layers side by side; each keeps its own stream, all share the attention."""
    cos, sin = models[-1].rotary_emb(streams[-1], positions)
    blocked = torch.where(allowed[:, None], 0.0, -1e9)
    sizes = [stream.shape[1] for stream in streams]
    for number in range(_LAYERS):
        layers = [model.layers[number] for model in models]
        normed = [
            layer.input_layernorm(stream) for layer, stream in zip(layers, streams, strict=True)
        ]
        queries, keys, values = (
            torch.cat(
                [
                    getattr(layer.self_attn, f'{name}_proj')(x).unflatten(-1, (-1, _HEAD_DIM))
                    for layer, x in zip(layers, normed, strict=True)
                ],
                1,
            ).transpose(1, 2)
            for name in 'qkv'
        )
        queries, keys = _turned(queries, cos, sin), _turned(keys, cos, sin)
        if cache is not None:
            keys, values = cache.update(keys, values, number)
        scores = queries @ keys.transpose(2, 3) / math.sqrt(_HEAD_DIM) + blocked
        mixed = (scores.softmax(-1) @ values).transpose(1, 2).flatten(2).split(sizes, 1)
        for which, layer in enumerate(layers):
            x = streams[which] + layer.self_attn.o_proj(mixed[which])
            streams[which] = x + layer.mlp(layer.post_attention_layernorm(x))
    return streams


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]


class Pi0ShapedPolicy(nn.Module):
    """What LeRobot's policies look like from outside."""

    name = 'pi0'

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = Pi0Shaped().eval().requires_grad_(False)
        self.config = SimpleNamespace(max_action_dim=WIDE)

    def predict_action_chunk(
        self, batch: dict[str, Tensor], noise: Tensor | None = None
    ) -> Tensor:
        prefix, mask = self.model.embed_prefix(batch[CAMERA], batch[TOKENS], batch[MASK])
        cache = self.model.prefill(prefix, mask)
        x = torch.zeros(len(mask), HORIZON, WIDE) if noise is None else noise
        for step in range(4):
            time = torch.full((len(x),), 1.0 - step / 4)
            x = x - 0.25 * self.model.denoise_step(
                state=batch[STATE], prefix_pad_masks=mask, past_key_values=cache, x_t=x,
                timestep=time,
            )  # fmt: skip
        return x[..., :DIM]


def before(batch: dict[str, Any]) -> dict[str, Any]:
    """Stand in for a preprocessor: words become tokens, actions half as large."""
    words = batch.pop('task')
    tokens = torch.zeros(len(words), 3, dtype=torch.long)
    for row, text in zip(tokens, words, strict=True):
        for place, word in enumerate(text.split()[:3]):
            row[place] = 1 + sum(map(ord, word)) % 31
    encoded = {**batch, TOKENS: tokens, MASK: tokens > 0}
    if 'action' in encoded:
        encoded['action'] = encoded['action'] / 2
    return encoded


def after(actions: Tensor) -> Tensor:
    """Stand in for a postprocessor."""
    return actions * 2


def observation(batch: int = 1) -> dict[str, Any]:
    numbers = torch.Generator().manual_seed(3)
    image = torch.randint(0, 255, (batch, 16, 16, 3), generator=numbers, dtype=torch.uint8)
    state = torch.randn(batch, 4, generator=numbers)
    return {STATE: state, CAMERA: image, 'task': ['lift cup'] * batch}
