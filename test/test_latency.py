# SPDX-License-Identifier: Apache-2.0
"""Latency on purpose: what can be written, and what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from async_chunking.latency import FORMS, LatencyError, parse_latency


def draws(text: str | float, count: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    latency = parse_latency(text)
    return np.array([latency.draw(rng) for _ in range(count)])


@pytest.mark.parametrize('text', ['120', 120, 120.0, ' 120 '])
def test_a_number_is_a_constant_in_milliseconds(text):
    assert set(draws(text, 10)) == {0.12}


@pytest.mark.parametrize('text', ['120±30', '120+-30'])
def test_a_normal_distribution(text):
    drawn = draws(text)
    assert drawn.mean() == pytest.approx(0.12, abs=0.002)
    assert drawn.std() == pytest.approx(0.03, abs=0.002)


def test_nothing_is_faster_than_at_once():
    assert draws('10±50').min() == 0.0


def test_a_uniform_distribution():
    drawn = draws('uniform:90:150')
    assert 0.09 <= drawn.min() < 0.091
    assert 0.149 < drawn.max() <= 0.15
    assert parse_latency('uniform:90:150').typical == pytest.approx(0.12)


def test_spikes_come_as_often_as_asked():
    drawn = draws('spiky:120:500:0.1')
    assert set(drawn) == {0.12, 0.5}
    assert (drawn == 0.5).mean() == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    'text', ['', 'fast', '-3', 'nan', 'inf', '1±', 'uniform:5:1', 'uniform:5', 'spiky:1:2:3']
)
def test_what_is_not_understood_is_refused_with_every_form(text):
    with pytest.raises(LatencyError) as error:
        parse_latency(text)
    assert f"latency_ms '{text}'" in str(error.value)
    assert all(form in str(error.value) for form in FORMS)
