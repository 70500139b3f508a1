# SPDX-License-Identifier: Apache-2.0
"""The executor without ROS 2: a policy that answers three steps late, and a steady stream.

Run it: `python examples/core.py`. What a robot runs is this object, with real time and transport.
"""

import numpy as np

from async_chunking.chunk import ActionChunk
from async_chunking.correctors import Corrector
from async_chunking.executor import Behaviour, Executor, ExecutorConfig
from async_chunking.mergers.switch import Switch
from async_chunking.safety import Limits

DELAY, TICKS = 3, 100

limits = Limits(lower=[-2.0], upper=[2.0], velocity=[3.0], acceleration=[5.0])
config = ExecutorConfig(limits, ('joint',), horizon=16, execution_horizon=8)
executor = Executor(config, Behaviour('naive', Switch(), Corrector()), run_id=1, position=[0.0])

commands, arrivals = [], {}  # Arrivals: tick -> chunk.
for tick in range(TICKS):
    if tick in arrivals:
        executor.push(arrivals[tick])
    request = executor.poll()  # A question for the policy, every 8 steps.
    if request is not None:  # The answer's first row belongs to the request's tick.
        rows = np.sin(0.02 * (request.tick + np.arange(16)))[:, None]
        arrivals[tick + DELAY] = ActionChunk(1, request.request_id, request.tick, rows)
    commands.append(executor.step().command)  # Exactly one per tick, within every limit.

velocity = np.diff(np.array(commands)[:, 0]) * config.control_rate_hz
print(f'{len(commands)} commands, fastest {np.abs(velocity).max():.2f} rad/s of 3.00 allowed')
