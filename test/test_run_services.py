# SPDX-License-Identifier: Apache-2.0
"""When ~/stop stopped a robot is known until something else begins."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')

from std_srvs.srv import Trigger

from async_chunking.nodes.run_services import RunServices


@pytest.fixture
def sender() -> SimpleNamespace:
    status = SimpleNamespace(run_id=1, command=np.zeros(2))
    return SimpleNamespace(status=status, brake=lambda: True, begin=lambda *_: 2)


@pytest.fixture
def services(sender: SimpleNamespace) -> RunServices:
    node = SimpleNamespace(resolve_service_name=str, create_service=lambda *_: None)
    parameters = SimpleNamespace(stale_s=0.5, if_displaced='keep')
    intake = SimpleNamespace(age=0.0, pose=np.zeros(2), poll=lambda: None)
    watch = SimpleNamespace(lag=lambda *_: '', most=np.ones(2), begin=lambda _: None)
    services = RunServices(node, parameters, sender, intake, watch)
    services.activate()
    assert services.on_stop(Trigger.Request(), Trigger.Response()).success
    assert services.stopped_at > 0.0
    return services


def test_a_robot_that_was_reset_is_no_longer_stopped(services: RunServices) -> None:
    assert services.on_reset(Trigger.Request(), Trigger.Response()).message == 'run 2'
    assert services.stopped_at == 0.0


def test_a_reset_that_fails_leaves_it_stopped(services, sender) -> None:
    sender.begin = lambda *_: None
    response = services.on_reset(Trigger.Request(), Trigger.Response())
    assert (response.success, response.message) == (False, 'the sender is stuck')
    assert services.stopped_at > 0.0


def test_a_new_activation_forgets_a_stop(services: RunServices) -> None:
    services.deactivate()
    services.activate()
    assert services.stopped_at == 0.0
