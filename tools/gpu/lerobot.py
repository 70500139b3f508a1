# SPDX-License-Identifier: Apache-2.0
"""π0.5 of LeRobot at its own size, 3.6 billion random weights in bfloat16, on a GPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.policies.base import FlowPolicy
from async_chunking.policies.lerobot.policy import LeRobotFlow, Processors
from async_chunking.policies.reversed import Reversed
from async_chunking.samplers.base import sample_chunk
from async_chunking.strategies import SAMPLERS
from tools.gpu.checks import HALF, CheckResult, milliseconds, near

DIM = 14
STEPS = 10
CAMERAS = ('observation.images.top', 'observation.images.left', 'observation.images.right')
OFFERS = frozenset({'velocity', 'gradients'})


def classes(device: torch.device, rounds: int) -> Iterator[CheckResult]:
    """Compare a chunk with LeRobot's own from the same noise, and time encoding and sampling."""
    try:
        import lerobot.policies.factory  # noqa: F401
    except ImportError as error:
        yield CheckResult('lerobot', 'pi05', f'not installed ({error})', None)
        return
    if device.type != 'cuda':
        yield CheckResult('lerobot', 'pi05', 'needs CUDA: 8 GB of weights', None)
        return
    yield from pi05(device, min(rounds, 5))


def pi05(device: torch.device, rounds: int) -> Iterator[CheckResult]:
    """See `classes`."""
    began = time.perf_counter()
    theirs, batch = _policy(device), _batch(device)
    count = sum(p.numel() for p in theirs.parameters())
    made = time.perf_counter() - began
    yield CheckResult('lerobot', 'pi05', f'{count / 1e9:.2f} B weights made in {made:.0f} s', None)
    flow = _adapted(theirs, batch, device)
    noise = torch.randn(1, flow.horizon, 32, generator=torch.Generator().manual_seed(2))
    wanted = theirs.predict_action_chunk(batch, noise=noise.to(device)).cpu()
    yield near('lerobot', 'plain', _chunk(flow, 'plain', device), wanted, HALF)
    with torch.no_grad():
        encoding = flow.encode({})
        x, half = noise.to(device), torch.full((1,), 0.5, device=device)
        taken = milliseconds(lambda: flow.encode({}), device, rounds)
        yield CheckResult('lerobot', 'encode', f'{taken:.1f} ms', None)
        taken = milliseconds(lambda: flow.velocity(x, half, encoding), device, rounds)
        yield CheckResult('lerobot', 'velocity', f'{taken:.1f} ms', None)
    for name, entry in SAMPLERS.items():
        if entry.needs <= flow.offers and name != 'paint_optim':
            taken = milliseconds(lambda name=name: _chunk(flow, name, device), device, rounds)
            yield CheckResult('lerobot', name, f'{taken:.0f} ms a chunk, n = {STEPS}', None)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == 'cuda' else 0.0
    yield CheckResult('lerobot', 'memory', f'{peak:.1f} GiB at most', None)
    with torch.no_grad():
        compiled = torch.compile(flow.velocity)
        plain = flow.velocity(x, half, encoding)
        yield near('lerobot', 'compiled', compiled(x, half, encoding), plain.cpu(), HALF)
        taken = milliseconds(lambda: compiled(x, half, encoding), device, rounds)
        yield CheckResult('lerobot', 'velocity, compiled', f'{taken:.1f} ms', None)


def _policy(device: torch.device) -> Any:
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.pi05.configuration_pi05 import PI05Config
    from lerobot.policies.pi05.modeling_pi05 import PI05Policy

    read = {name: PolicyFeature(FeatureType.VISUAL, (3, 224, 224)) for name in CAMERAS}
    read['observation.state'] = PolicyFeature(FeatureType.STATE, (DIM,))
    answered = {'action': PolicyFeature(FeatureType.ACTION, (DIM,))}
    config = PI05Config(
        input_features=read, output_features=answered, dtype='bfloat16', device=str(device),
        push_to_hub=False, num_inference_steps=STEPS,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        return PI05Policy(config).eval().requires_grad_(False)


def _batch(device: torch.device) -> dict[str, Tensor]:
    """Return what LeRobot's preprocessor would: three pictures and 200 tokens."""
    numbers = torch.Generator().manual_seed(3)
    batch: dict[str, Tensor] = {
        name: torch.rand(1, 3, 224, 224, generator=numbers) for name in CAMERAS
    }
    batch['observation.language.tokens'] = torch.randint(1, 60, (1, 200), generator=numbers)
    batch['observation.language.attention_mask'] = torch.arange(200)[None] < 48
    batch['observation.state'] = torch.zeros(1, DIM)
    return {name: values.to(device) for name, values in batch.items()}


def _adapted(theirs: Any, batch: dict[str, Tensor], device: torch.device) -> FlowPolicy:
    """Return it as a flow of ours, with nothing between robot units and the network's."""

    def before(given: dict[str, Any]) -> dict[str, Any]:
        return {'action': given['action'].to(device)} if 'action' in given else batch

    shapes: Any = SimpleNamespace(
        horizon=theirs.config.chunk_size, action_dim=DIM, num_steps=STEPS, offers=OFFERS
    )
    return Reversed(LeRobotFlow(theirs, Processors(before, lambda x: x, {}, DIM), shapes))


def _chunk(flow: FlowPolicy, name: str, device: torch.device) -> Tensor:
    rows = 0 if name == 'plain' else flow.horizon // 2
    plan = torch.zeros(1, rows, DIM, device=device)
    boundary = Boundary(plan, min(rows, 8), flow.horizon // 2)
    generator = torch.Generator().manual_seed(2)
    return sample_chunk(flow, SAMPLERS[name].load(), {}, boundary, generator).actions
