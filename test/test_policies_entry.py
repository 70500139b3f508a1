# SPDX-License-Identifier: Apache-2.0
"""`policy:=torch`, the page that describes it, and whether a policy fits a robot."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch')

from async_chunking.bringup.describe import describe
from async_chunking.chunk import Boundary, ChunkRequest
from async_chunking.errors import StrategyError
from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.checkpoint.shipped import SHIPPED
from async_chunking.policies.entry import EntryError
from async_chunking.policies.fit import (
    Facts,
    FitError,
    check_fit,
    check_instruction,
    example_observation,
    facts_of,
    read_streams,
)
from async_chunking.policies.kinds import KINDS
from async_chunking.policies.opening import open_policy
from async_chunking.policies.options import PolicyOptions
from async_chunking.policies.responder import Responder
from async_chunking.policies.source import PolicySpec
from async_chunking.policies.strategy_fit import Timing, check_strategy
from async_chunking.robot.embodiment import load
from async_chunking.robot.wiring import Stream
from async_chunking.strategies import STRATEGIES, SamplerEntry, Strategy, resolve

PAGE = Path(__file__).parent.parent / 'docs' / 'policies.md'
ROBOT = load('viperx')
POLICY = Facts('policy', 16, 7)
OBSERVED = {'observation.state': np.linspace(-0.3, 0.3, 7)}
UNTRAINED = [
    name for name, strategy in STRATEGIES.items() if strategy.needs <= {'velocity', 'gradients'}
]


@pytest.fixture(scope='module')
def page(tmp_path_factory) -> Path:
    """Return the page's example as a file."""
    (block,) = re.findall(r'<!-- example -->\n```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
    assert len(block.splitlines()) <= 35
    path = tmp_path_factory.mktemp('page') / 'my_policy.py'
    path.write_text(block)
    return path


def opened(entry: str, path: str = ''):
    options = PolicyOptions(policy='torch', policy_path=path, policy_entry=entry)
    return open_policy(PolicySpec(ROBOT, options))


def request(strategy: str, rows: int = 12) -> ChunkRequest:
    previous = np.tile(OBSERVED['observation.state'], (rows, 1)) + 0.1
    return ChunkRequest(1, 1, 0, strategy, Boundary(previous, delay=3, execution_horizon=8))


# --- the page -----------------------------------------------------------------------------------


@pytest.mark.parametrize('strategy', UNTRAINED)
def test_the_example_of_the_page_serves_every_strategy_without_training(strategy, page):
    answer = Responder(opened(f'{page}:make')).answer(request(strategy), OBSERVED)
    assert answer.refusal == ''
    assert answer.actions.shape == (16, 7)
    assert answer.conditioned_delay == 3  # What was told, also where nothing is made of it.
    if strategy in ('naive', 'sync', 'ensemble', 'bspline'):  # The last step ends at the state.
        np.testing.assert_allclose(answer.actions, np.tile(OBSERVED['observation.state'], (16, 1)),
                                   atol=0.05)  # fmt: skip


@pytest.mark.parametrize('strategy', ['bid_full', 'tt_rtc', 'remac', 'vlash', 'a2c2'])
def test_strategies_that_need_more_are_refused(strategy, page):
    answer = Responder(opened(f'{page}:make')).answer(request(strategy), OBSERVED)
    assert 'This policy can run: sync, naive' in answer.refusal


def test_the_example_loads_weights(page, tmp_path):
    from safetensors.torch import save_model

    policy = opened(f'{page}:make').policy_for(STRATEGIES['naive'])
    save_model(policy._model, str(tmp_path / 'weights.safetensors'))
    again = opened(f'{page}:make', str(tmp_path / 'weights.safetensors'))
    loaded = again.policy_for(STRATEGIES['naive'])._model
    import torch

    assert torch.equal(loaded.correction[0].weight, policy._model.correction[0].weight)


def test_the_example_is_brought_up_without_torch_in_this_process(page):
    described = describe('viperx', {'policy': 'torch', 'policy_entry': f'{page}:make',
                                    'strategy': 'paint'})  # fmt: skip
    nodes = {node.name: node.parameters for node in described.nodes}
    assert nodes['executor']['horizon'] == 16
    assert nodes['executor']['offers'] == 'gradients velocity'
    assert nodes['policy']['policy'] == 'torch'
    assert nodes['policy']['policy_entry'] == f'{page}:make'
    assert described.policy == facts_of(opened(f'{page}:make'))


def test_robots_of_the_page_can_be_loaded(tmp_path):
    blocks = re.findall(r'```yaml\n(extends.*?)```', PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 5
    for number, block in enumerate(blocks):
        path = tmp_path / f'{number}.yaml'
        path.write_text(block)
        robot = load(str(path))
        assert 'observation.environment_state' not in robot.observations
        assert any(stream.is_image for stream in robot.observations.values())
        assert set(example_observation(robot)) == set(robot.observations)


def test_the_page_lists_every_kind():
    rows = re.findall(r'^\| `(\w+)`', PAGE.read_text().split('\n\n    ')[0], re.MULTILINE)
    assert set(rows) == set(KINDS)


# --- other modules ------------------------------------------------------------------------------

MODULE = """
import torch
class Base:
    horizon, action_dim = 4, 2
class Chunk(Base):
    def chunk(self, observation, generator):
        return torch.ones(1, 4, 2)
class WrongChunk(Base):
    def chunk(self, observation, generator):
        return torch.ones(1, 4, 3)
class WrongVelocity(Base):
    encode = lambda self, observation: None
    velocity = lambda self, actions, flow_time, encoding: actions[:, :3]
class WithWeak(WrongVelocity):
    velocity = lambda self, actions, flow_time, encoding: -actions
    weak = None
def with_weak(path):
    policy = WithWeak(); policy.weak = WithWeak(); return policy
def chunk(path): return Chunk()
def wrong_chunk(path): return WrongChunk()
def wrong_velocity(path): return WrongVelocity()
def nothing(path): return Base()
def shapeless(path): return object()
def wrong_offer(path):
    policy = Chunk(); policy.offers = {'telepathy'}; return policy
def fails(path): raise KeyError('weights')
"""


@pytest.fixture
def module(tmp_path) -> str:
    path = tmp_path / 'toy_policies.py'
    path.write_text(MODULE)
    return str(path)


def toy_request(strategy: str) -> ChunkRequest:
    return ChunkRequest(1, 1, 0, strategy, Boundary(np.zeros((3, 2)), 1, 2))


def test_a_module_with_chunk_alone(module):
    source = opened(f'{module}:chunk')
    assert source.offers == frozenset()
    responder = Responder(source)
    np.testing.assert_array_equal(
        responder.answer(toy_request('ensemble'), OBSERVED).actions, np.ones((4, 2))
    )
    assert 'needs the velocity' in responder.answer(toy_request('paint'), OBSERVED).refusal


def test_a_module_with_a_weaker_one_serves_bid_full(module):
    source = opened(f'{module}:with_weak')
    answer = Responder(source).answer(toy_request('bid_full'), OBSERVED)
    assert answer.refusal == ''
    assert answer.actions.shape == (4, 2)


def test_shapes_that_a_module_did_not_promise_are_refused_with_both(module):
    chunk = Responder(opened(f'{module}:wrong_chunk'))
    assert chunk.answer(toy_request('naive'), OBSERVED).refusal == (
        'chunk returned [1, 4, 3], not [B, 4, 2]'
    )
    flow = Responder(opened(f'{module}:wrong_velocity'))
    with pytest.raises(ValueError, match=r'velocity returned \[1, 3, 2\] for actions \[1, 4, 2\]'):
        flow.warm_up('naive', OBSERVED)


@pytest.mark.parametrize(
    ('entry', 'sentence'),
    [
        ('', "policy_entry '' is not module:factory"),
        ('no_such_module:make', 'cannot import no_such_module, is it on PYTHONPATH'),
        ('{module}:absent', 'has no function absent. It has: .*fails'),
        ('{module}:fails', r"failed: KeyError\('weights'\)"),
        ('{module}:nothing', 'Base has neither encode and velocity, nor chunk'),
        ('{module}:shapeless', 'object.horizon must be a whole number, is None'),
        ('{module}:wrong_offer', "offers names 'telepathy'. Choices: velocity"),
        ('/no/file.py:make', 'cannot import /no/file.py'),
    ],
)
def test_entries_that_cannot_work(entry, sentence, module):
    with pytest.raises(EntryError, match=sentence):
        opened(entry.format(module=module))


def test_an_unknown_kind_names_those_there_are():
    with pytest.raises(ValueError, match=r"unknown policy kind 'torhc'\. Did you mean 'torch'"):
        describe('viperx', {'policy': 'torhc'})


def test_the_quickest_made_up_request_counts(module):
    ticks = iter([0.0, 5.0, 10.0, 10.25, 20.0, 21.0])  # The first one compiles.
    seconds = Responder(opened(f'{module}:chunk')).warm_up('naive', OBSERVED, lambda: next(ticks))
    assert seconds == 0.25


# --- does it fit? -------------------------------------------------------------------------------

CAMERA = ROBOT.model_copy(
    update={
        'observations': {
            'observation.state': Stream(kind='measured', size=7),
            'front': Stream(kind='image', topic='f', height=240, width=320, resize=(224, 224)),
            'task': Stream(kind='text'),
        }
    }
)


@pytest.mark.parametrize(
    ('expects', 'sentence'),
    [
        ({'front': (256, 256, 3)}, "'front' as 256 x 256 x 3, robot viperx has it as 224 x 224 x 3"
         '; set `resize`'),
        ({'observation.state': (14,)}, "'observation.state' as 14, robot viperx has it as 7"),
        ({'wrist': (224, 224, 3)}, r"'wrist' \(224 x 224 x 3\), robot viperx has only"),
        ({'task': (7,)}, "'task' as 7, robot viperx has it as text"),
    ],
)  # fmt: skip
def test_observations_that_do_not_fit_are_named_with_both_shapes(expects, sentence):
    with pytest.raises(FitError, match=sentence):
        check_fit(Facts('policy', 16, 7, expects=expects), CAMERA)


def test_action_dimensions_that_differ_are_named():
    with pytest.raises(FitError, match='has 8 action dimensions, robot viperx has 7 joints'):
        check_fit(Facts('policy', 16, 8), ROBOT)


def test_an_empty_instruction_is_refused_where_it_is_read():
    check_instruction(read_streams(Facts('policy', 16, 7), CAMERA), 'go')
    check_instruction(read_streams(Facts('policy', 16, 7, expects={'front': ()}), CAMERA), '')
    with pytest.raises(FitError, match="'task' is the parameter instruction, which is empty"):
        check_instruction(read_streams(Facts('policy', 16, 7), CAMERA), ' ')


def test_joints_in_another_order_are_refused_and_other_names_are_not():
    turned = ROBOT.joint_names[::-1]
    with pytest.raises(FitError, match=r'in the order left_finger, .*, robot viperx in the order'):
        check_fit(Facts('policy', 16, 7, joint_names=turned), ROBOT)
    check_fit(Facts('policy', 16, 7, joint_names=tuple('abcdefg')), ROBOT)


def test_another_policy_rate_is_refused_with_both():
    with pytest.raises(FitError, match=r'trained on 15 rows a second, policy_rate_hz .* is 50'):
        check_fit(Facts('policy', 16, 7, policy_rate_hz=15.0), ROBOT)


def test_a_checkpoint_that_knows_shorter_delays_only_is_refused():
    facts = Facts('policy', 16, 7, frozenset({'velocity', 'recipe:remac'}),
                  delays={'recipe:remac': (0, 4)})  # fmt: skip
    check_strategy(resolve('remac'), facts, ROBOT.action_modes, Timing(8, 0.08, 50.0))
    check_strategy(resolve('paint'), facts, ROBOT.action_modes, Timing(8, 0.12, 50.0))
    with pytest.raises(FitError, match=r"strategy 'remac' was .* up to 4 steps, the delay is 5"):
        check_strategy(resolve('remac'), facts, ROBOT.action_modes, Timing(8, 0.1, 50.0))


def test_a_quantisation_that_leaves_too_few_rows_is_refused():
    facts = Facts('policy', 16, 7, frozenset({'velocity', 'recipe:vlash'}))
    check_strategy(resolve('vlash:quantization=2'), facts, timing=Timing(8, 0.0, 50.0))
    with pytest.raises(FitError, match=r'leaves 5 rows of a chunk of 16, fewer than .* 8'):
        check_strategy(resolve('vlash:quantization=3'), facts, timing=Timing(8, 0.0, 50.0))


def test_a_policy_that_fits():
    expects = {'front': (224, 224, 3), 'task': (), 'observation.state': (7,)}
    check_fit(Facts('policy', 16, 7, expects=expects), CAMERA)
    for folder in sorted(SHIPPED.iterdir()):
        robot = PolicyDirectory(folder).sidecars['flow'].robot
        if ':' not in robot:  # Else it is an environment.
            check_fit(facts_of(PolicyDirectory(folder)), load(robot))


@pytest.mark.parametrize(
    ('execution_horizon', 'delay_s', 'sentence'),
    [
        (8, 0.2, r'horizon of 16 rows is too short for execution_horizon 8 \+ delay 10 = 18 rows '
         r'\(the delay is 200 ms at 50 Hz\); execution_horizon may be at most 6'),
        (8, 0.161, r'delay 9 = 17 rows'),
        (1, 0.32, 'use a policy with longer chunks'),
        (17, 0.0, 'must be 1 to the horizon 16, got 17'),
        (0, 0.0, 'must be 1 to the horizon 16, got 0'),
    ],
)  # fmt: skip
def test_a_horizon_that_is_too_short_for_the_delay(execution_horizon, delay_s, sentence):
    timing = Timing(execution_horizon, delay_s, 50.0)
    with pytest.raises(FitError, match=sentence):
        check_strategy(resolve('naive'), POLICY, timing=timing)


def test_a_horizon_that_is_just_long_enough():
    check_strategy(resolve('naive'), POLICY, timing=Timing(8, 0.160, 50.0))
    check_strategy(resolve('naive'), POLICY, timing=Timing(16, 0.0, 50.0))


def test_a_robot_that_rests_waits_for_any_delay():
    """400 ms are 20 rows of 16; sync plays each chunk from its start, whenever it comes."""
    check_strategy(resolve('sync'), POLICY, timing=Timing(16, 0.4, 50.0))
    with pytest.raises(FitError, match=r'execution_horizon must be 1 to the horizon 16, got 17'):
        check_strategy(resolve('sync'), POLICY, timing=Timing(17, 0.4, 50.0))
    assert describe('viperx', {'strategy': 'sync', 'latency_ms': 400}).policy.horizon == 16
    with pytest.raises(FitError, match=r'too short.*rest meanwhile: strategy:=sync'):
        describe('viperx', {'strategy': 'naive', 'latency_ms': 400})


def test_bringup_refuses_a_delay_that_no_chunk_covers():
    describe('viperx', {'strategy': 'naive', 'latency_ms': '160'})
    with pytest.raises(FitError, match=r'execution_horizon 8 \+ delay 15 = 23 rows'):
        describe('viperx', {'strategy': 'naive', 'latency_ms': '300'})


@pytest.mark.parametrize('kind', KINDS)
def test_the_function_that_opens_a_kind_is_where_the_table_says(kind: str) -> None:
    module, _, name = KINDS[kind].entry.partition(':')
    spec = importlib.util.find_spec(f'async_chunking.policies.{module}')
    assert f'def {name}(' in Path(spec.origin).read_text(encoding='utf-8')


def test_a_strategy_of_two_recipes_is_refused() -> None:
    offers = frozenset({'velocity', 'gradients', 'recipe:remac', 'recipe:tt_rtc'})
    both = SamplerEntry('plain:Plain', offers, 'n', '')
    with pytest.raises(StrategyError, match='needs two policies at once: remac and tt_rtc'):
        check_strategy(Strategy('both', sampler=both), Facts('policy', 16, 7, offers))
