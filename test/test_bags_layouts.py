# SPDX-License-Identifier: Apache-2.0
"""The viewers' layouts in docs/ name only topics and fields that a recording has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from async_chunking.bags.definitions import own_store
from async_chunking.bags.topics import OWN
from async_chunking.robot.embodiment import load

LAYOUTS = Path(__file__).parents[1] / 'docs' / 'layouts'
TYPES = {
    'control_step': 'async_chunking/msg/ControlStep',
    'chunk_request': 'async_chunking/msg/ChunkRequest',
    'action_chunk': 'async_chunking/msg/ActionChunk',
    'delay_estimate': 'async_chunking/msg/DelayEstimate',
    'episode': 'std_msgs/msg/String',
    'snapshot': 'std_msgs/msg/String',
}


def foxglove_paths() -> list[str]:
    layout = json.loads((LAYOUTS / 'foxglove.json').read_text())
    panels = layout['configById'].values()
    paths = [path['value'] for panel in panels for path in panel.get('paths', ())]
    paths += [panel['topicPath'] for panel in panels if 'topicPath' in panel]
    return [re.sub(r'\{.*?\}', '', path) for path in paths]


def plotjuggler_paths() -> list[str]:
    root = ElementTree.parse(LAYOUTS / 'plotjuggler.xml').getroot()
    return [
        curve.get('name').replace('/', '.').replace('.', '/', 1) for curve in root.iter('curve')
    ]


def test_topics_have_known_types():
    assert TYPES.keys() == set(OWN)


@pytest.mark.parametrize('paths', [foxglove_paths, plotjuggler_paths])
def test_every_curve_exists(paths):
    assert len(paths()) > 15
    for path in paths():
        topic, field = re.fullmatch(r'/(\w+)\.(\w+)(\[.*\])?', path).group(1, 2)
        fields = dict(own_store().fielddefs[TYPES[topic]][1])
        assert field in fields, path
        is_array = fields[field][0].name == 'SEQUENCE'
        assert is_array == ('[' in path), path


def test_viewers_are_pointed_at_topics_that_are_published():
    layout = json.loads((LAYOUTS / 'foxglove.json').read_text())['configById']
    rviz = yaml.safe_load((LAYOUTS.parents[1] / 'rviz' / 'robot.rviz').read_text())
    shown = {*layout['3D!seam']['topics'], *layout['Image!front']['imageMode'].values()}
    for display in rviz['Visualization Manager']['Displays']:
        topic = display.get('Topic') or display.get('Description Topic')
        shown |= {f'/{topic["Value"]}'} if topic else set()
    published = ''.join(
        (LAYOUTS.parents[1] / 'async_chunking' / 'nodes' / f'{name}.py').read_text()
        for name in ('view_node', 'camera')
    )
    assert len(shown) == 4
    assert all(f"'{topic[1:]}'" in published for topic in shown)


def test_panels_are_all_shown():
    layout = json.loads((LAYOUTS / 'foxglove.json').read_text())

    def leaves(node):
        return {node} if isinstance(node, str) else leaves(node['first']) | leaves(node['second'])

    assert leaves(layout['layout']) == layout['configById'].keys()


def test_a_small_robot_has_all_joints_that_are_drawn():
    drawn = [int(n) for path in plotjuggler_paths() for n in re.findall(r'command\[(\d+)\]', path)]
    assert drawn == list(range(len(load('viperx').joints)))
