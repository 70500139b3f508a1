# SPDX-License-Identifier: Apache-2.0
"""A snapshot is of the nodes of one robot."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy')

from rclpy.node import Node

from async_chunking.nodes.snapshot import Snapshot
from async_chunking.robot.embodiment import load


def test_nodes_of_another_namespace_are_not_asked(node: Node, monkeypatch) -> None:
    there = [('executor', '/'), ('policy', '/left'), ('_hidden', '/'), (node.get_name(), '/')]
    asked, told = [], []
    monkeypatch.setattr(node, 'get_node_names_and_namespaces', lambda: there)
    monkeypatch.setattr(
        node, 'create_client',
        lambda kind, name: asked.append(name) or SimpleNamespace(service_is_ready=lambda: False),
    )  # fmt: skip
    monkeypatch.setattr(node, 'destroy_client', lambda client: None)
    Snapshot(node, load('viperx', sim=True), told.append).look()
    assert asked == ['executor/list_parameters', 'executor/get_parameters']
    assert [json.loads(text)['robot'] for text in told] == ['viperx']
