# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Checkpoints: what is saved comes back; what is torn, exchanged or foreign is refused by name."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.checkpoint.sidecar import CheckpointError, read_sidecar
from async_chunking.settings import SettingsError
from async_chunking.storage import StorageError
from async_chunking.strategies import Strategy

torch = pytest.importorskip('torch')

from async_chunking.chunk import Boundary
from async_chunking.policies.checkpoint.weights import load_policy, save_policy
from async_chunking.policies.networks.mixer import MixerArchitecture
from async_chunking.policies.networks.network import NetworkPolicy, ObservationError
from async_chunking.policies.networks.normalizer import measure
from async_chunking.samplers.base import sample_chunk
from async_chunking.samplers.plain import Plain

OBSERVATION = (('observation.state', 3), ('observation.environment_state', 2))


def make_policy(
    horizon: int = 6, space: str = 'absolute', kind: str = 'mean_std'
) -> NetworkPolicy:
    torch.manual_seed(0)
    architecture = MixerArchitecture(horizon, 3, OBSERVATION, 16, 8, 16, 2)
    network = architecture.build()
    for parameter in network.parameters():  # Away from adaLN-zero, so that every weight counts.
        torch.nn.init.normal_(parameter, std=0.2)
    features = {name: torch.randn(50, size) * 3.0 + 1.0 for name, size in OBSERVATION}
    statistics = measure(features, torch.randn(50, horizon, 3), kind, space)
    return NetworkPolicy(architecture, network, statistics, num_steps=4)


def observe(batch: int = 2) -> dict:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(batch, size, generator=generator) for name, size in OBSERVATION}


def sample(policy: NetworkPolicy) -> torch.Tensor:
    boundary = Boundary(torch.zeros(2, 0, 3), 0, 2)
    return sample_chunk(
        policy, Plain(), observe(), boundary, torch.Generator().manual_seed(0)
    ).actions


def assert_same_policy(found: NetworkPolicy, expected: NetworkPolicy) -> None:
    """Equal weights to the last bit; chunks nearly, since products round as memory lies."""
    weights, others = (policy.network.state_dict() for policy in (found, expected))
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    torch.testing.assert_close(sample(found), sample(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('space', ['absolute', 'relative'])
@pytest.mark.parametrize('kind', ['mean_std', 'min_max'])
def test_normalization_is_inverted_exactly_enough(space: str, kind: str):
    policy = make_policy(space=space, kind=kind)
    actions = torch.randn(2, 6, 3, dtype=torch.float64)
    network = policy.normalize(actions, observe())
    assert network.dtype == torch.float32
    torch.testing.assert_close(
        policy.denormalize(network, observe()).double(), actions, atol=1e-5, rtol=0
    )


def test_statistics_have_known_values_and_spare_joints_at_rest():
    values = torch.tensor([[0.0, 7.0], [2.0, 7.0], [4.0, 7.0]])
    scale = measure({'x': values}, torch.zeros(1, 1, 1), 'mean_std', 'absolute').features
    assert scale['x'].offset == (2.0, 7.0)
    assert scale['x'].scale == pytest.approx(((8 / 3) ** 0.5, 0.01 * (8 / 3) ** 0.5))
    assert scale['action'].scale == (1.0,)
    middle = measure({'x': values}, torch.zeros(1, 1, 1), 'min_max', 'absolute').features['x']
    assert middle.offset == (2.0, 7.0)
    assert middle.scale == pytest.approx((2.0, 0.02))


def test_one_flow_time_for_all_rows_is_the_same_per_row():
    policy = make_policy()
    actions, encoding = torch.randn(2, 6, 3), policy.encode(observe())
    once = policy.velocity(actions, torch.tensor([0.3, 0.8]), encoding)
    rows = policy.velocity(actions, torch.tensor([[0.3] * 6, [0.8] * 6]), encoding)
    torch.testing.assert_close(once, rows)
    rows_differ = torch.full((2, 6), 0.3)
    rows_differ[:, 0] = 1.0
    assert not torch.allclose(policy.velocity(actions, rows_differ, encoding), once)


def test_a_fresh_network_has_no_velocity():
    network = make_policy().architecture.build()
    assert network(torch.randn(2, 6, 3), torch.rand(2), torch.randn(2, 5)).abs().max() == 0.0


def test_an_observation_that_does_not_fit_is_named():
    policy = make_policy()
    with pytest.raises(ObservationError, match=r"reads 'observation.environment_state'"):
        policy.encode({'observation.state': torch.zeros(1, 3)})
    with pytest.raises(ObservationError, match=r'must be \[batch, 3\].*got \[1, 4\]'):
        policy.encode({'observation.state': torch.zeros(1, 4)})


def test_a_saved_policy_samples_the_same(tmp_path: Path):
    policy = make_policy()
    save_policy(tmp_path / 'flow', policy, 'flow', task='reach', robot='viperx')
    loaded = load_policy(tmp_path / 'flow.json')
    assert_same_policy(loaded, policy)
    assert loaded.num_steps == 4
    sidecar = read_sidecar(tmp_path / 'flow')
    assert (sidecar.recipe, sidecar.task, sidecar.robot) == ('flow', 'reach', 'viperx')
    assert sidecar.versions['torch'] == torch.__version__
    assert sorted(p.name for p in tmp_path.iterdir()) == ['flow.json', 'flow.safetensors']


def test_a_torn_weights_file_is_refused(tmp_path: Path):
    save_policy(tmp_path / 'flow', make_policy(), 'flow')
    file = tmp_path / 'flow.safetensors'
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r'flow.safetensors: weights_sha256 is .* torn'):
        load_policy(tmp_path / 'flow')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'recipe': 3}, r'flow.json: recipe = 3: Input should be a valid string'),
        ({'surprise': 1}, r"flow.json: unknown key 'surprise'. Choices: format, recipe"),
        ({'policy_rate_hz': -1}, r'policy_rate_hz = -1: Input should be greater than 0'),
        ({'format': 9}, r'flow.json: format = 9: Input should be 1'),
    ],
)
def test_a_sidecar_that_says_nonsense_is_refused(tmp_path: Path, change: dict, message: str):
    save_policy(tmp_path / 'flow', make_policy(), 'flow')
    file = tmp_path / 'flow.json'
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(SettingsError, match=message):
        read_sidecar(tmp_path / 'flow')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'name': 'oracle'}, r"architecture.name is 'oracle'. Choices: mixer"),
        ({'depth': 3}, r'architecture.depth is unknown. Choices: .*blocks'),
        ({'horizon': None}, r'architecture = .*must have horizon and action_dim'),
        ({'horizon': '16'}, r'architecture = .*must have horizon and action_dim'),
        ({'observation': [['observation.state']]}, r'a list of names with sizes'),
        ({'width': 32}, r'has shape \(.*\), the architecture in flow.json wants \(.*\)'),
    ],
)
def test_an_architecture_that_does_not_fit_is_refused(tmp_path: Path, change: dict, message: str):
    save_policy(tmp_path / 'flow', make_policy(), 'flow')
    file = tmp_path / 'flow.json'
    sidecar = json.loads(file.read_text())
    sidecar['architecture'].update(change)
    file.write_text(json.dumps(sidecar))
    with pytest.raises((CheckpointError, SettingsError), match=message):
        load_policy(tmp_path / 'flow')


def test_a_missing_checkpoint_names_those_there_are(tmp_path: Path):
    save_policy(tmp_path / 'flow', make_policy(), 'flow')
    with pytest.raises(CheckpointError, match=r'no checkpoint at .*remac.json.*there: flow'):
        load_policy(tmp_path / 'remac')


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path, monkeypatch):
    policy = make_policy()
    save_policy(tmp_path / 'flow', policy, 'flow', task='before')

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr('os.fsync', full)
        with pytest.raises(StorageError, match=r'No space left on device; the last good'):
            save_policy(tmp_path / 'flow', make_policy(horizon=7), 'flow', task='after')
    assert read_sidecar(tmp_path / 'flow').task == 'before'
    assert_same_policy(load_policy(tmp_path / 'flow'), policy)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['flow.json', 'flow.safetensors']


def test_a_directory_offers_what_its_checkpoints_allow(tmp_path: Path):
    save_policy(tmp_path / 'flow', make_policy(), 'flow')
    base = {'velocity', 'gradients', 'per_token_time'}
    assert PolicyDirectory(tmp_path).offers == base
    for recipe in ('weak', 'tt_rtc', 'remac'):
        save_policy(tmp_path / recipe, make_policy(), recipe)
    folder = PolicyDirectory(tmp_path)
    assert folder.offers == base | {'weak_policy', 'recipe:tt_rtc', 'recipe:remac'}
    assert (folder.horizon, folder.action_dim) == (6, 3)
    assert folder.recipe_for(Strategy('naive')) == 'flow'
    assert folder.policy_for(Strategy('naive')).offers == folder.offers
    with pytest.raises(CheckpointError, match=r"no checkpoint 'vlash'. It has: flow, remac"):
        folder.load('vlash')


def test_a_checkpoint_under_the_name_of_another_recipe_is_refused(tmp_path: Path):
    save_policy(tmp_path / 'remac', make_policy(), 'flow')
    with pytest.raises(CheckpointError, match=r"remac.json: recipe = 'flow', in a file named 're"):
        PolicyDirectory(tmp_path)


def test_a_directory_with_checkpoints_of_two_robots_is_refused(tmp_path: Path):
    save_policy(tmp_path / 'flow', make_policy(), 'flow', robot='viperx')
    save_policy(tmp_path / 'remac', make_policy(), 'remac', robot='fr3')
    with pytest.raises(
        CheckpointError, match=r'disagree about robot \(flow: viperx, remac: fr3\)'
    ):
        PolicyDirectory(tmp_path)
    with pytest.raises(CheckpointError, match='holds no checkpoint'):
        PolicyDirectory(tmp_path / 'elsewhere')


def test_asking_a_directory_what_it_offers_does_not_import_torch(tmp_path: Path):
    save_policy(tmp_path / 'flow', make_policy(), 'flow')
    code = (
        'import sys\n'
        'from async_chunking.policies.checkpoint.directory import PolicyDirectory as P\n'
        'P(sys.argv[1]).offers; sys.exit("torch" in sys.modules)'
    )
    subprocess.run([sys.executable, '-c', code, str(tmp_path)], check=True, timeout=60)
