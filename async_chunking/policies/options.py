# SPDX-License-Identifier: Apache-2.0
"""What a user may say about a policy: the launch arguments and node parameters that concern it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from async_chunking.latency import parse_latency
from async_chunking.policies.kinds import check_kind
from async_chunking.settings import Settings
from async_chunking.strategies import AUTO, DEFAULTS

RUNTIME: dict[str, Any] = {'runtime': True}
"""Mark of a parameter that may be changed while its node is active."""

OWN_KIND = 'checkpoint'
"""Kind of policy whose folder tells everything without loading it."""


class PolicyOptions(Settings):
    """Which policy, as `name:=value`."""

    policy: str = Field(
        default=OWN_KIND,
        description='Kind of policy: checkpoint, torch, remote …; see docs/policies.md',
    )
    policy_path: str = Field(
        default='', description='Folder of checkpoints, or the name of a shipped one'
    )
    policy_entry: str = Field(
        default='', description='module:factory or file.py:factory, for policy:=torch'
    )
    policy_url: str = Field(
        default='', description='ws://host:8000 or gr00t://host:5555, for policy:=remote'
    )
    policy_timeout_s: float = Field(
        default=2.0, gt=0.0, description='For an answer of a server [s]'
    )

    @field_validator('policy')
    @classmethod
    def _kind(cls, value: str) -> str:
        return check_kind(value)


class InferenceOptions(PolicyOptions):
    """Which policy, and how it is run, as `name:=value`."""

    strategy: str = Field(
        AUTO,
        description='How chunks are drawn and joined; parts joined by +. auto: the first of '
        f'{", ".join(DEFAULTS)} that the policy can serve',
    )
    latency_ms: str = Field(
        '0',
        description='Latency on purpose [ms]: 120, 120±30, uniform:90:150 …',
        json_schema_extra=RUNTIME,
    )
    device: str = Field('cpu', description='Where the policy runs: cpu, cuda, cuda:1')
    precision: Literal['float32', 'bfloat16', 'float16'] = Field(
        'float32', description='Precision of the large weights and products of the policy'
    )
    compile: bool = Field(False, description='Compile the velocity with torch.compile')
    instruction: str = Field(
        '',
        description='What the robot shall do, for policies that read text',
        json_schema_extra=RUNTIME,
    )
    seed: int = Field(0, ge=0, description='Seed of the noise, and of the episodes in simulation')

    @field_validator('latency_ms', mode='before')
    @classmethod
    def _latency(cls, value: Any) -> str:
        parse_latency(value)
        return str(value)
