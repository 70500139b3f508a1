# SPDX-License-Identifier: Apache-2.0
"""Who plays: strategies of the package by their names, and schedulers of other packages."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from async_chunking.bench.delays import DelayModel, require_feasible
from async_chunking.bench.rollout import Environment, Loop, Seed
from async_chunking.bench.rows import Row
from async_chunking.bench.scene import Bench
from async_chunking.bench.serving import SamplingServer
from async_chunking.bench.sweep import Cell, Skipped, Unit
from async_chunking.errors import AsyncChunkingError
from async_chunking.executor import ExecutorConfig
from async_chunking.settings import unknown
from async_chunking.strategies import resolve
from tools.peers.loop import Peer, PeerRun

GATE = '+gate'
"""Ends the name of a peer whose commands go through our gate."""


@dataclass(frozen=True)
class PeerEntry:
    """
    One scheduler of another package.

    Attributes:
        package: Distribution that holds it.
        peer: 'module:Class' under `tools.peers`.
        options: Arguments of the class beside the settings.
        sampler: 'module:Class' of a sampler of theirs; empty for plain chunks.
        like: Strategy that needs as much of the policy.
        rests: It waits for its chunk, so that any delay will do.
    """

    package: str
    peer: str
    options: tuple[str, ...] = ()
    sampler: str = ''
    like: str = 'naive'
    rests: bool = False

    def loaded(self) -> Callable[[ExecutorConfig], Peer]:
        """
        Return what makes one.

        Raises:
            AsyncChunkingError: The package is not installed.
        """
        made = _attribute(self.peer, self.package)
        return lambda config: made(config, *self.options)

    def load_sampler(self) -> Any:
        """Return the sampler; raises as `loaded` does."""
        if not self.sampler:
            return resolve('naive').load_sampler()
        return _attribute(self.sampler, self.package)()


PEERS: dict[str, PeerEntry] = {
    **{
        f'lerobot:{rule}': PeerEntry('lerobot', 'client:Aggregating', (rule,))
        for rule in ('weighted_average', 'latest_only', 'average', 'conservative')
    },
    'lerobot:rtc': PeerEntry('lerobot', 'queue:Queued', (), 'queue:LeRobotRtc', 'rtc_identity'),
    'lerobot:act_ensemble': PeerEntry('lerobot', 'act:Ensembled', rests=True),
    'openpi:broker': PeerEntry('openpi-client', 'openpi:Broker', rests=True),
}
"""Name -> scheduler of another package."""

OURS = ('sync', 'naive', 'shift', 'rtc', 'paint', 'bid_early', 'remac_paired')


def peer_of(name: str) -> tuple[PeerEntry, bool] | None:
    """
    Return a peer and whether it is gated; None for a strategy of ours.

    Raises:
        AsyncChunkingError: There is none such.
    """
    base = name.removesuffix(GATE)
    if base in PEERS:
        return PEERS[base], base != name
    if ':' in base and base.partition(':')[0] in {key.partition(':')[0] for key in PEERS}:
        raise AsyncChunkingError(unknown('peer', base, PEERS))
    return None


def _attribute(entry: str, package: str) -> Any:
    module, _, name = entry.partition(':')
    try:
        return getattr(importlib.import_module(f'tools.peers.{module}'), name)
    except ImportError as error:
        msg = f'{package} cannot be imported ({error}): make setup-peers, then run '
        raise AsyncChunkingError(msg + '.venv-peers/bin/python -m tools peers') from error


@dataclass(frozen=True)
class Players:
    """
    Peers and strategies in one environment with one policy; is a `Play` of a campaign.

    Attributes:
        bench: Environment and policy.
    """

    bench: Bench

    def __call__(self, unit: Unit) -> list[Row]:
        """Play a unit: its rows."""
        chosen = peer_of(unit.cell.strategy)
        if chosen is None:
            return self.bench(unit)
        entry, gated = chosen
        scene, make = self.bench.scene(unit.cell.task), entry.loaded()

        def loop(
            environment: Environment, config: ExecutorConfig, delays: Iterator, seed: Seed
        ) -> Loop:
            return PeerRun(
                environment, config, make(config), delays, seed, scene.arena.rest, gated
            )

        return scene.play_with(unit, _server(self.bench, unit.cell.task, entry), loop)

    def cells(
        self, task: str, names: Sequence[str], delays: Sequence[int], execution_horizon: int
    ) -> tuple[list[Cell], list[Skipped]]:
        """
        Return the conditions, and who cannot play.

        Raises:
            AsyncChunkingError: A name is unknown, a combination infeasible, or commands come
                more often than rows of a chunk, for which no peer has a rule.
        """
        horizon = self.bench.horizon(task)
        cells, skipped = [], []
        for name in dict.fromkeys(names):
            chosen = peer_of(name)
            strategy = resolve(chosen[0].like if chosen else name)
            reason = self.bench.refusal(task, strategy)
            digest = '' if reason else self.bench.digest(task, strategy)
            if chosen and not reason:
                self._check_rate(task)
                digest, reason = _known(chosen[0], digest)
            if reason:
                skipped.append(Skipped(task, name, reason))
                continue
            rests = chosen[0].rests if chosen else strategy.rests
            for steps in delays:
                require_feasible(steps, execution_horizon, horizon, rests)
                model = DelayModel(steps)
                cells.append(Cell(task, digest, name, model, execution_horizon, horizon))
        return cells, skipped

    def _check_rate(self, task: str) -> None:
        scene = self.bench.scene(task)
        rows, commands = scene.source.policy_rate_hz, scene.arena.control_rate_hz
        rows = rows or scene.arena.robot.policy.policy_rate_hz
        if rows != commands:
            msg = f'{task}: {commands:g} commands a second and {rows:g} rows; peers send one '
            raise AsyncChunkingError(msg + 'command a row, so the two must be equal')


def _known(entry: PeerEntry, digest: str) -> tuple[str, str]:
    """Return the digest of a policy with a peer of this version, and why it cannot play."""
    try:
        entry.loaded()
        release = version(entry.package)
    except (AsyncChunkingError, PackageNotFoundError) as error:
        return '', str(error)
    return hashlib.sha256(f'{digest} {entry} {release}'.encode()).hexdigest()[:16], ''


@lru_cache(maxsize=8)
def _server(bench: Bench, task: str, entry: PeerEntry) -> SamplingServer:
    """Return what answers a peer's questions."""
    policy = bench.scene(task).source.policy_for(resolve('naive'))
    return SamplingServer(policy, entry.load_sampler())
