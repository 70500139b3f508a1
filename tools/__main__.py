# SPDX-License-Identifier: Apache-2.0
"""`python -m tools`: what measures and attacks the package, from a checkout."""

from __future__ import annotations

from async_chunking.cli import Commands, run

COMMANDS: Commands = {
    'cost': ('tools.cost.command', 'cost', 'Time a chunk of every sampler.'),
    'docs': ('tools.docs.blocks', 'docs', 'Rewrite what the code says of itself in the docs.'),
    'faults': ('tools.faults.command', 'faults', 'Break a robot; show its stream.'),
    'gate': ('tools.gate', 'gate', 'Attack the last gate with random orders.'),
    'gpu': ('tools.gpu.command', 'gpu', 'Run every CUDA path and compare it with the CPU.'),
    'kinetix': ('tools.kinetix.cli', 'app', "Run the papers' benchmark."),
    'odd_files': ('tools.odd_files', 'odd_files', 'Read files of other origin and age.'),
    'pace': ('tools.cost.pace', 'pace', 'Compare the bench with the bare environment.'),
    'peers': ('tools.peers.command', 'peers', 'Play against schedulers of other packages.'),
    'picture': ('tools.moving_picture', 'picture', 'Film two strategies side by side.'),
    'policies': ('tools.policies', 'policies', 'Make the checkpoints of the simulated tasks.'),
    'recordings': ('tools.recordings.benchmark', 'recordings', 'Time the reading of recordings.'),
    'reference': ('tools.docs.reference', 'reference', 'Print the interface reference.'),
    'sharing': ('tools.sharing', 'sharing', 'Show what shared observations save in training.'),
    'smoke': ('tools.smoke', 'smoke', 'Check that the strategies still rank as they should.'),
    'soak': ('tools.soak', 'soak', 'Run a robot for long; show growth.'),
    'stream': ('tools.stream.command', 'stream', 'Compare ways to make a command stream.'),
    'tick': ('tools.stream.tick', 'tick', 'Show where each microsecond of a tick goes.'),
}

if __name__ == '__main__':
    run('python -m tools', 'Measure and attack async_chunking.', COMMANDS)
