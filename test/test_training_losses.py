# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""What each recipe learns: losses against values worked out by hand, inputs against the data."""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from pathlib import Path

import demonstrations
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from async_chunking.chunk import Boundary
from async_chunking.correctors.a2c2 import load_a2c2
from async_chunking.correctors.base import Corrector
from async_chunking.dataset.reading import read_demonstrations
from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.checkpoint.weights import load_policy
from async_chunking.policies.networks.transformer import attend_to_both
from async_chunking.samplers.base import field, integrate
from async_chunking.samplers.remac import Remac
from async_chunking.training import loop
from async_chunking.training.a2c2 import A2C2Config, A2C2Recipe, head_inputs
from async_chunking.training.act import ActConfig, ActRecipe, divergence
from async_chunking.training.curriculum import SCHEDULES, draw_curriculum, share
from async_chunking.training.flow import Flow, FlowConfig
from async_chunking.training.flow_recipe import interpolate, postfix
from async_chunking.training.recipe import Recipe, TrainingError, TrainingInputs
from async_chunking.training.remac import (
    RemacFlowConfig,
    RemacRecipe,
    mask_loss,
    merged,
    prefix_loss,
    residual_loss,
    with_adapters,
)
from async_chunking.training.tt_rtc import TtRtcConfig, TtRtcRecipe, draw_delays, postfix_loss
from async_chunking.training.vlash import VlashConfig, VlashRecipe

needs_peft = pytest.mark.skipif(find_spec('peft') is None, reason='needs peft')


class Spy(torch.nn.Module):
    """Answers with a constant velocity and remembers what it was asked."""

    def __init__(self, velocity: float = 0.0) -> None:
        super().__init__()
        self.velocity = velocity

    def forward(self, actions, flow_time, features):
        self.actions, self.flow_time, self.features = actions, flow_time, features
        return torch.full_like(actions, self.velocity)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return read_demonstrations(demonstrations.write(tmp_path_factory.mktemp('data')))


@pytest.fixture(scope='module')
def bases(data, tmp_path_factory) -> dict[str, Path]:
    paths = {}
    for architecture in ('mixer', 'transformer'):
        out = tmp_path_factory.mktemp(architecture)
        config = FlowConfig(horizon=6, architecture=architecture).debug()
        recipe = Flow(config.model_copy(update={'width': 16}), inputs(data))
        for parameter in recipe.network.parameters():  # Away from zero, so that inputs matter.
            torch.nn.init.normal_(parameter, std=0.3)
        loop.fit(recipe, out, quiet=True)
        paths[architecture] = out / 'flow'
    return paths


def inputs(data, base: Path | None = None) -> TrainingInputs:
    return TrainingInputs(data, 'sines', 'toy', ('left', 'right'), base)


def draw(recipe: Recipe, count: int = 8, progress: float = 0.5) -> dict[str, torch.Tensor]:
    return recipe.draw(recipe.train, count, progress, torch.Generator().manual_seed(0))


# --- flow ---------------------------------------------------------------------------------------


def test_the_way_from_noise_to_actions():
    noise, actions = torch.tensor([[[0.0], [2.0]]]), torch.tensor([[[4.0], [4.0]]])
    x, velocity = interpolate(noise, actions, torch.tensor([0.25]))
    assert x.flatten().tolist() == [1.0, 2.5]
    assert velocity.flatten().tolist() == [4.0, 2.0]
    x, _ = interpolate(noise, actions, torch.tensor([[1.0, 0.5]]))
    assert x.flatten().tolist() == [4.0, 3.0]


def test_the_flow_loss_is_the_mean_squared_error_of_the_velocity(data):
    recipe = Flow(FlowConfig(horizon=6).debug(), inputs(data))
    draws, spy = draw(recipe), Spy(0.5)
    actions, _ = recipe.example(recipe.train, draws['frame'])
    expected = (0.5 - (actions - draws['noise'])).square().mean(dim=(1, 2))
    torch.testing.assert_close(recipe.losses(spy, recipe.train, draws), expected)
    t = draws['flow_time'][:, None, None]
    torch.testing.assert_close(spy.actions, t * actions + (1 - t) * draws['noise'])


def test_relative_actions_are_differences_to_the_measured_positions(data):
    recipe = Flow(FlowConfig(horizon=6).debug(), inputs(data))
    scale = recipe.policy.normalizer.statistics.features['action']
    frame = torch.tensor([7])
    actions, _ = recipe.example(recipe.train, frame)
    by_hand = data.actions[7:13] - data.observations['observation.state'][7]
    by_hand = (by_hand - scale.offset) / scale.scale
    np.testing.assert_allclose(actions[0].numpy(), by_hand, atol=1e-5)


# --- tt_rtc -------------------------------------------------------------------------------------


def test_the_postfix_loss_by_hand():
    # Errors 1, 2, 3 in two dimensions; delays 1 and 2 leave 2 + 1 rows in the batch.
    error = torch.tensor([1.0, 2.0, 3.0])[None, :, None].expand(2, 3, 2)
    delay = torch.tensor([1, 2])
    mask = postfix(delay, 3)
    assert mask.tolist() == [[False, True, True], [False, False, True]]
    loss = postfix_loss(error, mask, torch.tensor([1.5, 1.5])).mean()
    assert float(loss) == pytest.approx((2 * (4 + 9) + 2 * 9) / 3)


def test_the_prefix_is_clean_at_flow_time_1_and_does_not_count(data, bases):
    recipe = TtRtcRecipe(TtRtcConfig(max_delay=3).debug(), inputs(data, bases['mixer']))
    draws, spy = draw(recipe), Spy(0.5)
    losses = recipe.losses(spy, recipe.train, draws)
    actions, _ = recipe.example(recipe.train, draws['frame'])
    assert len(set(draws['delay'].tolist())) > 1
    total = rows = 0.0
    for i, delay in enumerate(draws['delay'].tolist()):
        assert (spy.flow_time[i, :delay] == 1.0).all()
        assert (spy.flow_time[i, delay:] == draws['flow_time'][i]).all()
        torch.testing.assert_close(spy.actions[i, :delay], actions[i, :delay])
        error = 0.5 - (actions - draws['noise'])[i, delay:]
        total, rows = total + float(error.square().sum()), rows + 6 - delay
    assert float(losses.mean()) == pytest.approx(total / rows, rel=1e-5)


def test_training_delays_are_drawn_as_described():
    generator = torch.Generator().manual_seed(0)
    uniform = draw_delays(TtRtcConfig(max_delay=4), 50_000, generator)
    shares = torch.bincount(uniform) / 50_000
    np.testing.assert_allclose(shares, [0.2] * 5, atol=0.01)
    config = TtRtcConfig(max_delay=4, delays='exponential')
    shares = torch.bincount(draw_delays(config, 50_000, generator)) / 50_000
    np.testing.assert_allclose(shares, [0.636, 0.234, 0.086, 0.032, 0.012], atol=0.01)


# --- remac --------------------------------------------------------------------------------------


def test_both_remac_losses_by_hand():
    # Velocity 0, targets 1, 2, 3 in two dimensions, from row 1 on: (2 * 4 + 2 * 9) / 2.
    target = torch.tensor([1.0, 2.0, 3.0])[None, :, None].expand(1, 3, 2)
    mask = postfix(torch.tensor([1]), 3)
    assert mask_loss(torch.zeros(1, 3, 2), target, mask).tolist() == [13.0]
    base = torch.full((1, 3, 2), 0.5)
    assert residual_loss(torch.zeros(1, 3, 2), target, base, mask).tolist() == [13.0]
    nothing = postfix(torch.tensor([3]), 3)
    assert mask_loss(torch.zeros(1, 3, 2), target, nothing).tolist() == [0.0]


def test_the_residual_loss_equals_the_mask_loss_whatever_the_base():
    generator = torch.Generator().manual_seed(0)
    velocity, target, base = (torch.randn(4, 6, 2, generator=generator) for _ in range(3))
    mask = postfix(torch.tensor([0, 1, 3, 5]), 6)
    torch.testing.assert_close(
        residual_loss(velocity, target, base, mask), mask_loss(velocity, target, mask)
    )


def test_the_losses_that_only_the_code_of_remac_has_by_hand():
    # Charbonnier: nearly |error|; errors 1, 2, 3 in two dimensions, from row 1 on.
    target = torch.tensor([1.0, 2.0, 3.0])[None, :, None].expand(1, 3, 2)
    mask = postfix(torch.tensor([1]), 3)
    loss = mask_loss(torch.zeros(1, 3, 2), target, mask, 'charbonnier')
    assert loss.tolist() == pytest.approx([(2 * 2 + 2 * 3) / 2], abs=1e-5)
    still = mask_loss(target, target, mask, 'charbonnier')
    assert still.tolist() == pytest.approx([2 * 0.001])
    # The rows before the delay alone: one of three, 1 off in both dimensions.
    assert prefix_loss(target, torch.zeros(1, 3, 2), mask).tolist() == pytest.approx([1 / 3])


def test_the_share_of_demonstrations_is_held_and_falls_to_its_end():
    config = RemacFlowConfig(schedule_end=0.4)
    shares = [share(config, p) for p in (0.0, 0.27, 0.6375, 1.0)]
    assert shares == pytest.approx([1.0, 1.0, 0.7, 0.4])


@pytest.mark.parametrize('name', SCHEDULES)
def test_every_schedule_is_a_share_that_never_rises(name):
    shares = [SCHEDULES[name](p / 20) for p in range(21)]
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert all(after <= before for before, after in itertools.pairwise(shares))
    begin, end = {'demonstrations': (1, 1), 'own_chunks': (0, 0)}.get(name, (1, 0))
    assert (shares[0], shares[-1]) == pytest.approx((begin, end), abs=0.01)


@needs_peft
def test_remac_draws_its_delay_from_an_interval_that_grows_downwards(data, bases):
    recipe = RemacRecipe(RemacFlowConfig(max_delay=4).debug(), inputs(data, bases['mixer']))
    uniform = recipe.config.model_copy(update={'delays': 'uniform'})
    drawn = draw_curriculum(uniform, 200, 0.0, torch.Generator().manual_seed(0))['delay']
    assert set(drawn.tolist()) == {0, 1, 2, 3, 4}
    for progress, allowed in ((0.0, {4}), (0.5, {2, 3, 4}), (1.0, {0, 1, 2, 3, 4})):
        assert set(draw(recipe, 200, progress)['delay'].tolist()) == allowed


@needs_peft
@pytest.mark.parametrize('gated', [True, False])
def test_remac_mixes_the_base_into_the_input_and_never_into_the_target(data, bases, gated):
    config = RemacFlowConfig(
        max_delay=4, gated=gated, error='squared', prefix_weight=0.0, own_late=False
    )
    recipe = RemacRecipe(config.debug(), inputs(data, bases['mixer']))
    draws, spy = draw(recipe), Spy(0.5)
    draws['demonstrated'] = torch.tensor([True, False] * 4)
    losses = recipe.losses(spy, recipe.train, draws)
    actions, encoding = recipe.example(recipe.train, draws['frame'])
    with torch.no_grad():
        own = integrate(field(recipe.policy, encoding), draws['start'], recipe.policy.num_steps)
    given = torch.where(draws['demonstrated'][:, None, None], actions, own)
    x, _ = interpolate(draws['noise'], given, draws['flow_time'])
    torch.testing.assert_close(spy.actions, x, atol=1e-5, rtol=1e-5)
    target = actions - draws['noise']
    expected = mask_loss(torch.full_like(target, 0.5), target, postfix(draws['delay'], 6))
    torch.testing.assert_close(losses, 0.02 * expected, atol=1e-6, rtol=1e-4)
    told = spy.features[:, -1].long() if gated else draws['delay']
    assert told.tolist() == draws['delay'].tolist()
    assert spy.features.shape[1] == encoding.shape[1] + gated


def test_one_number_is_flow_time_and_choice_of_input_in_the_code_of_remac(data, bases):
    recipe = RemacRecipe(RemacFlowConfig(max_delay=4).debug(), inputs(data, bases['mixer']))
    draws = draw(recipe, 200, progress=0.6375)
    assert draws['demonstrated'].tolist() == (draws['flow_time'] < 0.5).tolist()


def test_unmasked_remac_knows_no_delay(data, bases):
    config = RemacFlowConfig(
        max_delay=4, masked=False, error='squared', schedule='demonstrations', residual_weight=0.0
    )
    recipe = RemacRecipe(config.debug(), inputs(data, bases['mixer']))
    draws, spy = draw(recipe), Spy(0.5)
    losses = recipe.losses(spy, recipe.train, draws)
    actions, _ = recipe.example(recipe.train, draws['frame'])
    error = (0.5 - (actions - draws['noise'])).square().sum(-1).mean(1)
    torch.testing.assert_close(losses, 0.01 * error)
    assert not spy.features[:, -1].any()


def test_gated_adapters_change_the_rows_from_the_delay_on_alone(data, bases):
    """But for those that mix over rows, which are left at nothing here."""
    recipe = RemacRecipe(RemacFlowConfig(max_delay=4).debug(), inputs(data, bases['mixer']))
    asked, seen = (torch.randn(3, 6, 2), torch.rand(3)), torch.randn(3, 5)
    delay = torch.tensor([[0.0], [2.0], [6.0]])
    base = recipe.policy.network(*asked, seen)
    torch.testing.assert_close(recipe.network(*asked, torch.cat([seen, delay], 1)), base)
    trained = {n for n, p in recipe.network.named_parameters() if p.requires_grad}
    assert trained == {
        n for n, _ in recipe.network.named_parameters()
        if n.split('.')[-2] in ('down', 'up', 'mark')
    }  # fmt: skip
    torch.nn.init.normal_(recipe.network.head.up.weight)
    changed = (recipe.network(*asked, torch.cat([seen, delay], 1)) - base).abs().sum(-1) > 1e-6
    assert changed.tolist() == postfix(delay[:, 0], 6).tolist()


def test_a_policy_with_gated_adapters_is_told_the_delay_by_its_sampler(data, bases, tmp_path):
    recipe = RemacRecipe(RemacFlowConfig(max_delay=4).debug(), inputs(data, bases['mixer']))
    for parameter in recipe.network.adapters():
        torch.nn.init.normal_(parameter, std=0.3)
    recipe.save(tmp_path / 'remac', recipe.network.state_dict(), {})
    policy = load_policy(tmp_path / 'remac')
    plan = torch.from_numpy(data.actions[None, :6]).float()
    observation = {n: torch.from_numpy(v[:1]) for n, v in data.observations.items()}
    told = Remac(start='gaussian').condition(observation, Boundary(plan, 2, 2))
    x, time = torch.randn(1, 6, 2), torch.tensor([0.4])
    velocity = policy.velocity(x, time, policy.encode(told))
    features = torch.cat([recipe.policy.encode(observation), torch.tensor([[2.0]])], 1)
    torch.testing.assert_close(velocity, recipe.network(x, time, features))
    assert PolicyDirectory(tmp_path).expects == {
        'observation.state': (2,), 'observation.environment_state': (3,)
    }  # fmt: skip


def test_gated_adapters_need_a_mixer(data, bases):
    with pytest.raises(TrainingError, match=r'gated needs a mixer; .* is a Transformer'):
        RemacRecipe(RemacFlowConfig(max_delay=4).debug(), inputs(data, bases['transformer']))


@needs_peft
def test_adapters_leave_flow_time_alone_and_merge_without_a_trace(data, bases):
    config = RemacFlowConfig(max_delay=4, gated=False).debug()
    recipe = RemacRecipe(config, inputs(data, bases['mixer']))
    trained = {n for n, p in recipe.network.named_parameters() if p.requires_grad}
    assert trained
    assert not [n for n in trained if 'lora_' not in n or 'time' in n or 'modulation' in n]
    layers = ['embed', 'blocks.0.over_rows.0', 'blocks.0.over_channels.2']
    network = with_adapters(recipe.policy.network, layers, rank=2, alpha=4.0)
    for name, parameter in network.named_parameters():
        if 'lora_' in name:
            torch.nn.init.normal_(parameter, std=0.3)
    asked = torch.randn(3, 6, 2), torch.rand(3), torch.randn(3, 5)
    adapted = network(*asked)
    assert not torch.allclose(adapted, recipe.policy.network(*asked))
    fresh = recipe.policy.architecture.build()
    fresh.load_state_dict(merged(network))
    torch.testing.assert_close(fresh(*asked), adapted, atol=1e-4, rtol=1e-4)


# --- vlash --------------------------------------------------------------------------------------


def test_vlash_sees_now_and_starts_later(data, bases):
    recipe = VlashRecipe(VlashConfig(max_delay=3).debug(), inputs(data, bases['mixer']))
    policy = recipe.policy
    offsets = torch.tensor([[0, 2, 3]])
    actions, encoding = recipe.later_example(recipe.train, torch.tensor([10]), offsets)
    for branch, offset in enumerate([0, 2, 3]):
        state = (
            data.actions[10 + offset - 1] if offset else data.observations['observation.state'][10]
        )
        seen = {
            'observation.state': torch.tensor(state)[None],
            'observation.seen_state': torch.from_numpy(
                data.observations['observation.state'][[10]]
            ),
            'observation.environment_state': torch.from_numpy(
                data.observations['observation.environment_state'][[10]]
            ),
        }
        torch.testing.assert_close(encoding[:, branch], policy.encode(seen))
        wanted = torch.from_numpy(data.actions[None, 10 + offset : 16 + offset])
        torch.testing.assert_close(actions[:, branch], policy.normalize(wanted, seen))


def test_vlash_keeps_the_measured_state_beside_the_later_one(data, bases):
    recipe = VlashRecipe(VlashConfig(max_delay=3).debug(), inputs(data, bases['mixer']))
    _, encoding = recipe.later_example(recipe.train, torch.tensor([10]), torch.tensor([[0, 3]]))
    measured = torch.from_numpy(data.observations['observation.state'][[10]])
    scaled = recipe.policy.normalizer.feature('observation.state', measured)
    for branch in (0, 1):
        torch.testing.assert_close(encoding[:, branch, -2:], scaled)
    assert not torch.allclose(encoding[:, 1, -4:-2], scaled)


@pytest.mark.parametrize('architecture', ['mixer', 'transformer'])
def test_vlash_begins_as_its_base_and_learns_to_heed_the_measured_state(data, bases, architecture):
    recipe = VlashRecipe(VlashConfig(max_delay=3).debug(), inputs(data, bases[architecture]))
    without = VlashConfig(max_delay=3, keep_state=False).debug()
    base = VlashRecipe(without, inputs(data, bases[architecture]))
    asked = torch.randn(3, 6, 2), torch.rand(3)
    seen = torch.randn(3, 5)
    if architecture == 'mixer':  # Attention divides itself among one token more.
        torch.testing.assert_close(
            recipe.network(*asked, torch.cat([seen, torch.randn(3, 2)], 1)),
            base.network(*asked, seen),
        )
    draws = draw(recipe)
    recipe.losses(recipe.network, recipe.train, draws).mean().backward()
    gradients = {n: p.grad for n, p in recipe.network.named_parameters() if p.grad is not None}
    of_measured = (
        gradients['embed.weight'][:, -2:] if architecture == 'mixer' else (gradients['scale'][-2:])
    )
    assert (of_measured.abs().sum(-1 if architecture == 'transformer' else 0) > 0.0).all()


@pytest.mark.parametrize('mask_end', [True, False])
def test_vlash_counts_no_row_past_an_episodes_end_unless_told_to(data, bases, mask_end):
    config = VlashConfig(max_delay=0, mask_end=mask_end).debug()
    recipe = VlashRecipe(config, inputs(data, bases['mixer']))
    last = int(data.ends[0]) - 3  # Rows 3, 4, 5 of its chunk are past the end.
    draws = {**draw(recipe, 1), 'frame': torch.tensor([last])}
    actions, _ = recipe.later_example(recipe.train, draws['frame'], draws['offset'])
    error = (0.5 - (actions - draws['noise'])).square()[0, 0].mean(-1)
    expected = (error[:3] if mask_end else error).mean()
    torch.testing.assert_close(recipe.losses(Spy(0.5), recipe.train, draws)[0], expected)


def test_branches_over_one_observation_are_the_same_as_apart(data, bases):
    config = VlashConfig(max_delay=3, shared=True).debug()
    recipe = VlashRecipe(config, inputs(data, bases['transformer']))
    draws = draw(recipe, 5)
    actions, encoding = recipe.later_example(recipe.train, draws['frame'], draws['offset'])
    together = recipe.network(actions, draws['flow_time'], encoding)
    for branch in range(4):
        apart = recipe.network(
            actions[:, branch], draws['flow_time'][:, branch], encoding[:, branch]
        )
        torch.testing.assert_close(together[:, branch], apart, atol=1e-5, rtol=1e-4)
    assert recipe.losses(recipe.network, recipe.train, draws).shape == (5,)


def test_attention_to_shared_and_own_keys_is_dense_attention_under_a_block_sparse_mask():
    shared, branches, rows = 5, 3, 4
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(2, branches, 2, rows, 8, generator=generator) for _ in range(3)
    )
    shared_key, shared_value = (torch.randn(2, 2, shared, 8, generator=generator) for _ in 'kv')
    sparse = attend_to_both(query, key, value, shared_key, shared_value)

    def flat(own):
        return own.transpose(1, 2).flatten(2, 3)

    branch = torch.arange(branches).repeat_interleave(rows)
    mask = torch.cat(
        [torch.ones(branches * rows, shared, dtype=torch.bool), branch[:, None] == branch], dim=1
    )
    dense = torch.nn.functional.scaled_dot_product_attention(
        flat(query),
        torch.cat([shared_key, flat(key)], 2),
        torch.cat([shared_value, flat(value)], 2),
        attn_mask=mask,
    )
    torch.testing.assert_close(flat(sparse), dense)


# --- a2c2 ---------------------------------------------------------------------------------------


def a2c2(data, bases) -> A2C2Recipe:
    return A2C2Recipe(A2C2Config().debug(), inputs(data, bases['mixer']))


def test_the_head_learns_what_the_plan_lacks(data, bases):
    recipe = a2c2(data, bases)
    draws = draw(recipe)
    planned, wanted, later = recipe.rows(recipe.train, draws)
    frame = int(draws['frame'][0])
    np.testing.assert_array_equal(wanted[0], recipe.train.chunk(draws['frame'][:1], 6)[0])
    row = recipe.train.later(torch.tensor([frame]), torch.tensor([4]))
    np.testing.assert_array_equal(
        later['observation.state'][0, 4], recipe.train.observation(row)['observation.state'][0]
    )
    scale = recipe.policy.normalizer.scale('action')
    by_hand = ((wanted - planned) / scale).square().mean(dim=(1, 2))  # A fresh head gives 0.
    torch.testing.assert_close(recipe.losses(recipe.network, recipe.train, draws), by_hand)


def test_the_base_does_it_like_the_demonstration_the_later_it_begins(data, bases):
    errors = []
    for start in (0.0, 0.5, 0.95):
        recipe = a2c2(data, bases)
        recipe.config = recipe.config.model_copy(update={'start': start})
        draws = draw(recipe)
        planned, wanted, _ = recipe.rows(recipe.train, draws)
        errors.append(float((planned - wanted).square().mean()))
        if start == 0.0:  # The paper's way: any chunk of the base.
            seen = recipe.train.observation(draws['frame'])
            policy = recipe.policy
            velocity = field(policy, policy.encode(seen))
            chunks = integrate(velocity, draws['noise'], policy.num_steps)
            torch.testing.assert_close(planned, policy.denormalize(chunks, seen))
    assert errors[0] > 4.0 * errors[2]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize('changes', [{}, {'joints': False}, {'bound': 0.01}])
def test_the_corrector_computes_what_the_head_was_trained_to(data, bases, tmp_path, changes):
    recipe = A2C2Recipe(A2C2Config(**changes).debug(), inputs(data, bases['mixer']))
    for parameter in recipe.network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    recipe.save(tmp_path / 'a2c2', recipe.network.state_dict(), {})
    corrector = load_a2c2(tmp_path / 'a2c2')
    assert dict(corrector.reads())['observation.state'] == 2  # Actions are counted from there.
    planned, _, later = recipe.rows(recipe.train, draw(recipe))
    scale = recipe.policy.normalizer.scale('action')
    names = tuple(name for name, _ in recipe.observation)
    with torch.no_grad():
        added = recipe.network(head_inputs(recipe.policy, planned, later, names)) * scale
    wanted = planned + added
    assert ('observation.state' in names) == changes.get('joints', True)
    assert (added.abs() <= changes.get('bound', np.inf) * scale + 1e-6).all()
    assert (added.abs() > 0.009 * scale).any()
    for row in range(6):
        seen = {name: values[2, row].double().numpy() for name, values in later.items()}
        corrected = corrector.correct(planned[2, row].double().numpy(), float(row), 6, seen)
        np.testing.assert_allclose(corrected, wanted[2, row], atol=1e-4)
    assert isinstance(corrector, Corrector)


def test_the_corrector_leaves_the_plan_alone_while_it_sees_nothing(data, bases, tmp_path):
    recipe = a2c2(data, bases)
    recipe.save(tmp_path / 'a2c2', recipe.network.state_dict(), {})
    corrector = load_a2c2(tmp_path / 'a2c2')
    action = np.array([0.1, 0.2])
    assert corrector.correct(action, 0.0, 6, None) is action
    assert corrector.correct(action, 0.0, 6, {'observation.state': action}) is action
    with pytest.raises(CheckpointError, match=r"architecture.name is 'mixer', not a2c2"):
        load_a2c2(bases['mixer'])


# --- act ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('mask_end', [True, False])
def test_rows_past_an_episodes_end_add_nothing_to_acts_loss(data, mask_end):
    config = ActConfig(horizon=6, kl_weight=0.0, mask_end=mask_end).debug()
    recipe = ActRecipe(config, inputs(data))
    draws = {**draw(recipe, 1), 'frame': torch.tensor([int(data.ends[0]) - 3])}

    def network(seen, wanted, noise):
        return wanted + 0.5, torch.zeros(1, 2), torch.zeros(1, 2)

    assert recipe.losses(network, recipe.train, draws).tolist() == pytest.approx(
        [0.25 if mask_end else 0.5]
    )


def test_the_divergence_from_a_standard_normal():
    zero = torch.zeros(1, 3)
    assert divergence(zero, zero).tolist() == [0.0]
    assert divergence(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2)).tolist() == [2.5]
    wide = divergence(torch.zeros(1, 1), torch.tensor([[1.0]]))
    assert wide.tolist() == pytest.approx([0.5 * (np.e - 2.0)])
