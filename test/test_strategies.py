# SPDX-License-Identifier: Apache-2.0
"""Names of strategies: combinations, constants, and what is wrong with others."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from async_chunking.chunk import ActionChunk, Boundary, ChunkRequest
from async_chunking.commands.catalogue import strategies
from async_chunking.errors import StrategyError
from async_chunking.mergers.bspline import BSpline
from async_chunking.mergers.ensemble import Ensemble
from async_chunking.mergers.switch import Switch
from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.checkpoint.shipped import SHIPPED
from async_chunking.policies.fit import Facts
from async_chunking.policies.responder import Responder
from async_chunking.policies.strategy_fit import check_strategy
from async_chunking.samplers.bid import Bid, BidFull
from async_chunking.samplers.combinations import remac_bid
from async_chunking.samplers.paint import Paint, PaintOptim
from async_chunking.samplers.plain import Plain
from async_chunking.samplers.prefix import Schedule
from async_chunking.samplers.remac import Remac
from async_chunking.samplers.rtc import Rtc
from async_chunking.samplers.vlash import Vlash
from async_chunking.strategies import NEEDS, SAMPLERS, STRATEGIES, constants, resolve
from async_chunking.strategies.constants import declared


def test_names_of_the_table_have_the_defaults_of_the_papers() -> None:
    samplers = {name: resolve(name).load_sampler() for name in STRATEGIES}
    assert samplers['rtc'] == Rtc(max_guidance_weight=5.0, schedule='exp', jacobian=True)
    assert samplers['rtc_identity'] == Rtc(jacobian=False)
    assert samplers['paint'] == Paint(grid='arrival')
    assert samplers['paint_optim'] == PaintOptim(iterations=5, learning_rate=0.1)
    assert samplers['bid'] == Bid(samples=16, schedule='exp')
    assert samplers['bid_full'] == BidFull(samples=16, keep=3)
    assert samplers['remac'] == Remac(start='plan')
    assert samplers['vlash'] == Vlash(mode='absolute', quantization=1)
    assert resolve('ensemble').load_merger() == Ensemble(decay=0.01)
    for sampler in samplers.values():
        assert sampler.num_steps == 0  # The policy's own.


def test_constants_are_part_of_a_name() -> None:
    strategy = resolve('rtc:schedule=linear:max_guidance_weight=10')
    assert strategy.load_sampler() == Rtc(schedule='linear', max_guidance_weight=10.0)
    assert strategy.load_merger() == Switch()
    assert resolve('paint:grid=departure').load_sampler() == Paint(grid='departure')
    assert resolve('vlash:mode=delta:quantization=2').load_sampler() == Vlash(0, 'delta', 2)
    assert resolve('rtc:jacobian=false').load_sampler() == Rtc(jacobian=False)
    assert resolve('remac+bid:samples=4').load_sampler() == remac_bid(samples=4)


def test_each_constant_goes_where_it_is_known() -> None:
    strategy = resolve('paint:num_steps=10+ensemble:decay=0.5')
    assert strategy.load_sampler() == Paint(num_steps=10)
    assert strategy.load_merger() == Ensemble(decay=0.5)
    assert resolve('bspline:control_points=6').load_merger() == BSpline(control_points=6)
    assert resolve('naive:num_steps=2').load_sampler() == Plain(num_steps=2)


@pytest.mark.parametrize(
    ('name', 'problem'),
    [
        ('paint:grid', "write each constant once, as paint:name=value, not 'grid'"),
        ('paint:=3', "not '=3'"),
        ('bid:samples=4:samples=5', "not 'samples=5'"),
        ('paint:steps=3', "has no constant 'steps'; it has num_steps=0, grid=arrival"),
        ('bid:inner=rtc', "has no constant 'inner'"),
        ('bid:samples=many', "samples must be a whole number from 1 to 10000, not 'many'"),
        ('bid:samples=2.5', "samples must be a whole number from 1 to 10000, not '2.5'"),
        ('paint:num_steps=-3', "num_steps must be a whole number from 0 to 10000, not '-3'"),
        ('rtc:max_guidance_weight=nan', "must be a number from 0 to 10000, not 'nan'"),
        ('rtc:max_guidance_weight=inf', "must be a number from 0 to 10000, not 'inf'"),
        ('rtc:jacobian=no', "jacobian must be true or false, not 'no'"),
        ('bid:samples=0', "samples must be a whole number from 1 to 10000, not '0'"),
        ('bid_full:keep=0', "keep must be a whole number from 1 to 10000, not '0'"),
        ('vlash:mode=relative', "mode must be absolute, delta, not 'relative'"),
        ('vlash:quantization=0', "quantization must be a whole number from 1 to 10000, not '0'"),
        ('rtc:schedule=cosine', "schedule must be exp, linear, ones, zeros, not 'cosine'"),
        ('paint:grid=midway', "grid must be arrival, departure, not 'midway'"),
        (
            'remac:start=zero',
            'start must be plan, plan_always, plan_then_noise, gaussian, not',
        ),
        ('remac+bid:samples=0', "samples must be a whole number from 1 to 10000, not '0'"),
    ],
)
def test_mistakes_are_named_before_anything_runs(name: str, problem: str) -> None:
    with pytest.raises(StrategyError, match=problem):
        resolve(name).load_sampler()
    facts = Facts('policy', 16, 7, frozenset(NEEDS))
    with pytest.raises(StrategyError, match=problem):  # Also where torch is not.
        check_strategy(resolve(name), facts)


@pytest.mark.parametrize('name', SAMPLERS)
def test_the_constants_that_are_read_from_the_source_are_those_of_the_sampler(name: str) -> None:
    sampler = replace(SAMPLERS[name], options={}).load()
    read = declared(SAMPLERS[name].entry)
    assert {key: constant.default for key, constant in read.items()} == constants(sampler)
    for key, constant in read.items():  # What the source allows is what the sampler takes.
        others = (*constant.choices, 'no such word') if constant.choices else (0, 1, -1)
        for value in others:
            if constant.allows(value):
                replace(sampler, **{key: value})
            else:
                with pytest.raises(StrategyError, match=key):
                    replace(sampler, **{key: value})


def test_words_and_least_numbers_are_read_from_types() -> None:
    assert declared('rtc:Rtc')['schedule'] == ('exp', get_args(Schedule), 0)
    assert declared('early:BidEarly')['samples'] == (8, (), 1)
    assert declared('combinations:remac_bid')['samples'] == (16, (), 1)
    assert declared('vlash:Vlash')['mode'] == ('absolute', ('absolute', 'delta'), 0)
    resolve('vlash:mode=delta:quantization=2').load_sampler()
    resolve('paint:num_steps=10+ensemble:decay=0.5').load_sampler()


def test_a_merger_checks_its_own() -> None:
    with pytest.raises(StrategyError, match='decay must be a number from 0 to 10000'):
        resolve('ensemble:decay=slow').load_merger()


@pytest.mark.parametrize(
    ('name', 'problem'),
    [
        ('pain', "unknown strategy 'pain'. Did you mean 'paint'"),
        ('rtc+paint', 'samplers that combine are paint'),
        ('ensemble+bspline', 'sets the merger twice: ensemble and bspline; keep one'),
        ('', "unknown strategy ''"),
    ],
)
def test_names_that_mean_nothing_are_refused(name: str, problem: str) -> None:
    with pytest.raises(StrategyError, match=problem.replace('+', r'\+')):
        resolve(name)


def test_order_of_a_combination_does_not_matter() -> None:
    assert resolve('tt_rtc+paint').sampler == resolve('paint+tt_rtc').sampler
    assert resolve('tt_rtc+paint').load_sampler() == Paint()  # As its authors run it.
    both = resolve('rtc+ensemble')
    assert (both.sampler, both.merger, both.corrector) == (SAMPLERS['rtc'], 'ensemble', 'none')


def test_one_strategy_is_shown_with_its_constants(capsys: pytest.CaptureFixture[str]) -> None:
    strategies('rtc:schedule=linear+ensemble')
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['schedule', 'linear'] in lines
    assert ['max_guidance_weight', '5.0'] in lines
    assert ['decay', '0.01'] in lines
    assert ['needs:', 'gradients'] in lines


def test_constants_reach_the_policy() -> None:
    source = PolicyDirectory(SHIPPED / 'viperx_slalom')
    seen = {name: np.zeros(size) for name, size in source.expects.items()}
    responder = Responder(source)

    def answer(strategy: str) -> ActionChunk:
        boundary = Boundary(np.zeros((8, source.action_dim)), 2, 8)
        return responder.answer(ChunkRequest(1, 1, 0, strategy, boundary), seen)

    assert answer('paint').calls == 15
    assert answer('paint:num_steps=2').calls == 6
    assert answer('rtc:schedule=linear:num_steps=3').calls == 3
    assert "has no constant 'steps'" in answer('paint:steps=2').refusal
