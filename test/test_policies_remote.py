# SPDX-License-Identifier: Apache-2.0
"""`policy:=remote` against real servers on loopback."""

from __future__ import annotations

import threading

import msgpack
import numpy as np
import pytest

pytest.importorskip('torch')
pytest.importorskip('websockets')
pytest.importorskip('zmq')

import policy_servers as servers
from policy_servers import HORIZON, Gr00tPeer, OpenpiPeer, running, slow, stand_still

from async_chunking.chunk import Boundary, ChunkRequest
from async_chunking.policies.facts import facts
from async_chunking.policies.kinds import KINDS
from async_chunking.policies.opening import open_policy
from async_chunking.policies.options import PolicyOptions
from async_chunking.policies.remote.source import TOKEN_VARIABLE, RemoteError
from async_chunking.policies.remote.wire import FORMS, WireError, pack, unpack
from async_chunking.policies.responder import Responder
from async_chunking.policies.source import PolicySource, PolicySpec
from async_chunking.robot.embodiment import Embodiment, load
from async_chunking.robot.wiring import Stream

ROBOT = load('viperx')
ALOHA = ROBOT.model_copy(
    update={
        'observations': {
            'state': Stream(kind='measured', size=7),
            'images.cam_high': Stream(
                kind='image', topic='high', height=6, width=8, channels_first=True
            ),
            'prompt': Stream(kind='text', topic='task'),
        }
    }
)
ARM, FINGER = ROBOT.joint_names[:6], ROBOT.joint_names[6:]
GROOT = ROBOT.model_copy(
    update={
        'observations': {
            'state.arm': Stream(kind='measured', size=6, joints=ARM),
            'state.gripper': Stream(kind='measured', size=1, joints=FINGER),
            'video.front': Stream(kind='image', topic='front', height=6, width=8),
            'language.annotation.human.task': Stream(kind='text', topic='task'),
        }
    }
)
OBSERVED = {'state': np.arange(7.0), 'images.cam_high': np.full((3, 6, 8), 9, np.uint8)}
OBSERVED |= {'prompt': 'close the drawer'}
SEEN = {'state.arm': np.arange(6.0), 'state.gripper': np.array([6.0])}
SEEN |= {'video.front': np.full((6, 8, 3), 9, np.uint8), 'language.annotation.human.task': 'go'}


def opened(url: str, robot: Embodiment = ALOHA, give_up=lambda: False, **more) -> PolicySource:
    options = {'policy': 'remote', 'policy_url': url, 'policy_timeout_s': 1.0, **more}
    return open_policy(PolicySpec(robot, PolicyOptions(**options), give_up))


def count(source: PolicySource, name: str) -> int:
    return source.counters()[f'server {name}']


# --- openpi -------------------------------------------------------------------------------------


def test_openpi_is_asked_as_its_own_client_asks(monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, 'secret')
    with running(OpenpiPeer(stand_still(7, 'state'))) as server:
        source = opened(server.url)
        assert (source.horizon, source.action_dim) == (HORIZON, 7)
        np.testing.assert_array_equal(source.ask(OBSERVED), np.tile(np.arange(7.0), (HORIZON, 1)))
        (seen,) = server.seen[1:]
        assert set(seen) == {'state', 'images', 'prompt'}
        assert seen['prompt'] == 'close the drawer'
        assert seen['images']['cam_high'].dtype == np.uint8
        assert seen['images']['cam_high'].shape == (3, 6, 8)
        assert server.headers[0]['Authorization'] == 'Api-Key secret'
        assert count(source, 'connections') == 1
        source.close()


@pytest.mark.parametrize('strategy', ['sync', 'naive', 'ensemble', 'bspline', 'a2c2'])
def test_strategies_without_velocity_are_served(strategy):
    with running(OpenpiPeer(stand_still(7, 'state'))) as server:
        source = opened(server.url, policy_path='viperx_slalom')  # It has a corrector.
        responder = Responder(source)
        boundary = Boundary(np.zeros((0, 7)), 0, 8)
        answer = responder.answer(ChunkRequest(1, 1, 0, strategy, boundary), OBSERVED)
        assert answer.refusal == ''
        assert answer.calls == 1
        np.testing.assert_array_equal(answer.actions[0], np.arange(7.0))
        source.close()


@pytest.mark.parametrize(
    'strategy', ['rtc', 'paint', 'bid', 'tt_rtc', 'remac', 'vlash', 'paint+a2c2']
)
def test_strategies_with_velocity_are_refused_with_a_remedy(strategy):
    with running(OpenpiPeer(stand_still(7, 'state'))) as server:
        source = opened(server.url)
        boundary = Boundary(np.zeros((0, 7)), 0, 8)
        answer = Responder(source).answer(ChunkRequest(1, 1, 0, strategy, boundary), OBSERVED)
        assert len(answer.actions) == 0
        assert 'needs' in answer.refusal
        assert 'run the policy node on the host of the model' in answer.refusal
        assert 'This policy can run: sync, naive, ensemble, bspline' in answer.refusal
        source.close()


@pytest.mark.parametrize(
    ('greeting', 'sentence'),
    [
        (None, r'it sent no metadata within 0\.3 s.*another kind of server'),
        ('{"name": "a server"}', 'its first message is text that begins with .{"name"'),
        (b'{"name": "a server"}', '20 bytes that begins? with .*MessagePack'),
        (msgpack.packb([1, 2]), 'where a server of openpi sends a dictionary'),
    ],
)
def test_a_server_of_another_kind_is_told_at_once(monkeypatch, greeting, sentence):
    monkeypatch.setattr('async_chunking.policies.remote.openpi._CONNECT_S', 0.3)
    rule = stand_still(7, 'state')
    with (
        running(OpenpiPeer(rule, greeting=greeting)) as server,
        pytest.raises(RemoteError, match=sentence) as error,
    ):
        opened(server.url)
    assert 'policy_timeout_s' not in str(error.value)


def test_a_late_answer_is_counted_and_belongs_to_no_later_question():
    delay = [0.0]
    rule = slow(stand_still(7, 'state'), lambda: delay[0])
    with running(OpenpiPeer(rule)) as server:
        source = opened(server.url, policy_timeout_s=0.3)
        delay[0] = 1.0
        with pytest.raises(RemoteError, match=r'no answer within 0\.3 s; raise policy_timeout_s'):
            source.ask({**OBSERVED, 'state': np.ones(7)})
        delay[0] = 0.0
        assert source.ask(OBSERVED, 20.0)[0, 1] == 1.0  # And not that of the state of ones.
        assert count(source, 'timeouts') == 1
        assert count(source, 'connections') == 2
        source.close()


def test_a_server_that_was_restarted_is_found_again():
    with running(OpenpiPeer(stand_still(7, 'state'))) as server:
        source = opened(server.url, policy_timeout_s=5.0)
        server.cut()  # The connection breaks, the server lives: nothing is noticed.
        assert source.ask(OBSERVED).shape == (HORIZON, 7)
        assert count(source, 'connections') == 2
    for _ in range(2):
        with pytest.raises(RemoteError, match='is the server running'):
            source.ask(OBSERVED)
    with running(OpenpiPeer(stand_still(7, 'state'), server.port)):
        assert source.ask(OBSERVED).shape == (HORIZON, 7)
        assert (count(source, 'connections'), count(source, 'unreachable')) == (3, 2)
        source.close()


@pytest.mark.parametrize(
    ('answer', 'sentence'),
    [
        ('a Traceback\nKeyError: prompt', 'the server says: KeyError: prompt'),
        ({'action': np.zeros((16, 7))}, "the answer has no 'actions' but action"),
        ({'actions': 'none'}, "actions are no numbers: 'none'"),
        ({'actions': np.zeros((2, 16, 7))}, r'actions have shape \[2, 16, 7\]'),
        ({'actions': np.zeros((16, 7), complex)}, r'actions are no numbers: array\(\[\[0'),
        ({'actions': np.full((16, 7), '0.5')}, 'actions are no numbers: array.*0.5'),
        ({'actions': np.zeros((16, 7), bool)}, 'actions are no numbers: array.*False'),
        ({'actions': [[0.0] * 7, [0.0] * 6]}, 'actions are no numbers'),
        ({'actions': np.zeros(7)}, r'actions have shape \[7\]'),
        ({'error': 'out of memory'}, 'the server says: out of memory'),
        (np.zeros((16, 8)), 'the chunk is 16 x 8, it was 16 x 7 at the start'),
        (np.zeros((10, 7)), 'the chunk is 10 x 7, it was 16 x 7 at the start'),
    ],
)
def test_an_answer_that_is_none_is_named_and_counted(answer, sentence):
    with running(OpenpiPeer(stand_still(7, 'state'))) as server:
        source = opened(server.url)
        server.rule = lambda _: answer
        with pytest.raises(RemoteError, match=sentence):
            source.ask(OBSERVED)
        assert count(source, 'errors') == 1
        server.rule = stand_still(7, 'state')
        assert source.ask(OBSERVED).shape == (HORIZON, 7)
        source.close()


def test_an_error_of_the_server_ends_the_connection_but_not_the_policy():
    with running(OpenpiPeer(stand_still(7, 'state'))) as server:
        source = opened(server.url)
        server.rule = stand_still(7, 'observation/joint_position')
        with pytest.raises(RemoteError, match='KeyError'):
            source.ask(OBSERVED)
        server.rule = stand_still(7, 'state')
        assert source.ask(OBSERVED).shape == (HORIZON, 7)
        source.close()


def test_an_observation_that_the_server_does_not_like_is_refused_at_the_start():
    with (
        running(OpenpiPeer(stand_still(7, 'state.joints'))) as server,
        pytest.raises(RemoteError, match='the server says'),
    ):
        opened(server.url)


@pytest.mark.parametrize('make', [OpenpiPeer, Gr00tPeer])
def test_a_wait_ends_when_the_node_stops(make):
    robot, rule = (ALOHA, stand_still(7, 'state')) if make is OpenpiPeer else (GROOT, groups)
    stopping, released = threading.Event(), threading.Event()
    with running(make(rule)) as server:
        source = opened(server.url, robot, policy_timeout_s=600.0, give_up=stopping.is_set)
        server.rule = lambda _: released.wait(60.0)
        threading.Timer(0.2, stopping.set).start()
        with pytest.raises(RemoteError, match='given up'):
            source.ask(OBSERVED if make is OpenpiPeer else SEEN)
        assert not released.is_set()
        source.close()
        released.set()


@pytest.mark.parametrize(
    ('url', 'sentence'),
    [
        ('localhost:8000', 'must begin with one of: ws://, wss://, gr00t://'),
        ('', 'must begin with one of'),
        ('ws://127.0.0.1:1', 'is the server running'),
        ('ws://', 'is the server running'),
    ],
)
def test_addresses_that_cannot_work(url, sentence):
    with pytest.raises(RemoteError, match=sentence):
        opened(url)


def test_facts_come_from_another_process_with_its_reasons():
    with running(OpenpiPeer(stand_still(7, 'state'))) as server:
        spec = PolicySpec(ALOHA, PolicyOptions(policy='remote', policy_url=server.url))
        known = facts(spec)
        assert (known.horizon, known.action_dim, known.offers) == (HORIZON, 7, frozenset())
    nowhere = PolicyOptions(policy='remote', policy_url='ws://127.0.0.1:1')
    with pytest.raises(ValueError, match='is the server running, and is this its address'):
        facts(PolicySpec(ALOHA, nowhere))


# --- GR00T --------------------------------------------------------------------------------------

NESTED = {
    group: {'__ModalityConfig_class__': True, 'as_json': {'modality_keys': keys}}
    for group, keys in {
        'video': ['front'], 'state': ['arm', 'gripper'], 'language': ['annotation.human.task'],
    }.items()
}  # fmt: skip


def groups(question: dict) -> list:
    """Answer as N1.6 does: [actions by group, information], with a batch."""
    state = question['observation']['state']
    actions = {name: np.repeat(state[name], HORIZON, axis=1) for name in ('arm', 'gripper')}
    return [actions, {}]


def flat_groups(observation: dict) -> dict:
    """Answer as N1.5 does: actions by group, no batch, one column without its dimension."""
    return {
        'action.arm': np.repeat(observation['state.arm'], HORIZON, axis=0),
        'action.gripper': np.repeat(observation['state.gripper'][0], HORIZON),
    }


def test_gr00t_nested():
    with running(Gr00tPeer(groups, NESTED)) as server:
        source = opened(server.url, GROOT)
        chunk = source.ask(SEEN)
        np.testing.assert_array_equal(chunk, np.tile(np.arange(7.0), (HORIZON, 1)))
        seen = server.seen[-1]['observation']
        assert seen['video']['front'].shape == (1, 1, 6, 8, 3)
        assert seen['video']['front'].dtype == np.uint8
        assert seen['state']['arm'].shape == (1, 1, 6)
        assert seen['state']['arm'].dtype == np.float32
        assert seen['language'] == {'annotation.human.task': [['go']]}
        source.close()


def test_gr00t_flat():
    modalities = {
        'video': {'modality_keys': ['video.front']},
        'state': {'modality_keys': ['state.arm', 'state.gripper']},
        'language': {'modality_keys': ['annotation.human.task']},
    }
    with running(Gr00tPeer(flat_groups, modalities)) as server:
        source = opened(server.url, GROOT)
        chunk = source.ask(SEEN)
        np.testing.assert_array_equal(chunk, np.tile(np.arange(7.0), (HORIZON, 1)))
        seen = server.seen[-1]
        assert seen['video.front'].shape == (1, 6, 8, 3)
        assert seen['annotation.human.task'] == ['go']
        source.close()


def test_gr00t_reads_a_stream_that_the_robot_has_not():
    more = {**NESTED, 'video': {'modality_keys': ['front', 'wrist']}}
    with (
        running(Gr00tPeer(groups, more)) as server,
        pytest.raises(RemoteError, match=r"the server reads 'video\.wrist', the robot has only"),
    ):
        opened(server.url, GROOT)


@pytest.mark.parametrize(
    ('config', 'sentence'),
    [
        ({'__ModalityConfig_class__': True}, 'configuration is not understood .*as_json'),
        ({'__ModalityConfig_class__': True, 'as_json': '{'}, 'configuration is not understood'),
        ({'delta_indices': None, 'modality_keys': None}, 'configuration is not understood'),
        ({'delta_indices': [-1, 0], 'modality_keys': []}, 'the server reads 2 steps of video'),
        ({'delta_indices': [0], 'modality_keys': [1]}, "the server reads 'video.1'"),
    ],
)
def test_gr00t_modalities_that_are_none(config, sentence):
    with (
        running(Gr00tPeer(lambda _: None, {'video': config})) as server,
        pytest.raises(RemoteError, match=sentence),
    ):
        opened(server.url, GROOT)


def test_gr00t_groups_of_one_name_are_refused():
    chunk = {'action.arm': np.zeros((16, 6)), 'arm': np.ones((16, 6))}
    with (
        running(Gr00tPeer(lambda _: chunk)) as server,
        pytest.raises(RemoteError, match=r'two groups of actions have one name: action\.arm, arm'),
    ):
        opened(server.url, GROOT)


@pytest.mark.parametrize(
    ('actions', 'sentence'),
    [
        (
            {'arm': (16, 5), 'gripper': (16, 1)},
            'has 5 action dimensions, robot viperx has 6 joints',
        ),
        ({'arm': (16, 6)}, "no actions of group 'gripper'"),
        ({'arm': (16, 6), 'gripper': (8, 1)}, r'differ in rows: \[8, 16\]'),
    ],
)
def test_gr00t_actions_that_do_not_fit(actions, sentence):
    chunk = {name: np.zeros((1, *shape)) for name, shape in actions.items()}
    with (
        running(Gr00tPeer(lambda _: [chunk, {}], NESTED)) as server,
        pytest.raises(RemoteError, match=sentence),
    ):
        opened(server.url, GROOT)


def test_gr00t_server_may_be_late_or_fail():
    delay = [0.0]
    with running(Gr00tPeer(slow(groups, lambda: delay[0]))) as server:
        source = opened(server.url, GROOT, policy_timeout_s=0.3)
        delay[0] = 1.0
        with pytest.raises(RemoteError, match=r'no answer within 0\.3 s'):
            source.ask({**SEEN, 'state.arm': np.ones(6)})
        delay[0] = 0.0
        assert source.ask(SEEN, 20.0)[0, 0] == 0.0
        server.rule = lambda _: 1 / 0
        with pytest.raises(RemoteError, match='the server says: ZeroDivisionError'):
            source.ask(SEEN, 20.0)
        assert (count(source, 'timeouts'), count(source, 'errors')) == (1, 1)
        source.close()


def test_gr00t_server_that_was_restarted_is_found_again():
    with running(Gr00tPeer(groups, NESTED)) as server:
        source = opened(server.url, GROOT, policy_timeout_s=0.5)
    for _ in range(2):
        with pytest.raises(RemoteError, match=r'no answer within 0\.5 s'):
            source.ask(SEEN)
    with running(Gr00tPeer(groups, NESTED, server.port)):
        assert source.ask(SEEN, 20.0).shape == (HORIZON, 7)
        assert count(source, 'connections') == 2
        assert count(source, 'timeouts') + count(source, 'unreachable') == 2
        source.close()


def test_gr00t_server_that_is_not_there(monkeypatch):
    monkeypatch.setattr('async_chunking.policies.remote.gr00t._CONNECT_S', 0.2)
    with pytest.raises(
        RemoteError, match=r'within 0\.2 s to get_modality_config; is the server run'
    ):
        opened('gr00t://127.0.0.1:1', GROOT)


# --- bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize('form', FORMS)
def test_arrays_survive_in_every_form(form):
    content = {'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'b': ['x', {'c': np.uint8([7])}]}
    unpacked = unpack(pack(content, form))
    np.testing.assert_array_equal(unpacked['a'], content['a'])
    assert unpacked['a'].dtype == np.float32
    assert unpacked['b'][1]['c'].dtype == np.uint8


def test_openpi_and_gr00t_understand_what_is_packed():
    values = np.arange(4, dtype='<i2')[::2]
    np.testing.assert_array_equal(servers.read_openpi(pack(values, 'openpi')), [0, 2])
    np.testing.assert_array_equal(servers.read_gr00t(pack(values, 'numpy_file')), [0, 2])


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\xc1',
        b'\x81\xa1a',
        pack({b'__ndarray__': True, b'data': b'1234', b'dtype': '<f8', b'shape': [1]}, 'openpi'),
        pack(
            {b'__ndarray__': True, b'data': b'8 bytes.', b'dtype': '|O', b'shape': [1]}, 'openpi'
        ),
        pack({b'nd': True, b'data': b'8 bytes.', b'type': '|O', b'shape': [1]}, 'openpi'),
        pack({'__ndarray_class__': True, 'as_npy': b'PK\x03\x04'}, 'openpi'),
    ],
)
def test_bytes_that_are_no_answer(content):
    with pytest.raises(WireError, match='are not understood'):
        unpack(content)


def test_the_table_says_what_a_server_offers():
    with running(OpenpiPeer(stand_still(7, 'state'))) as server:
        (offer,) = KINDS['remote'].columns.values()
        plain, corrected = opened(server.url), opened(server.url, policy_path='viperx_slalom')
        assert plain.offers == offer.always
        assert corrected.offers == offer.always | offer.may
        plain.close()
        corrected.close()


# --- bounds -------------------------------------------------------------------------------------


def long_answers(key: str) -> servers.Rule:
    """Return the rule of a policy whose later answers are longer than what is read."""
    still, asked = stand_still(7, key), []

    def rule(observation: dict) -> np.ndarray:
        asked.append(1)
        return still(observation) if len(asked) == 1 else np.zeros((2000, 7))

    return rule


def test_a_frame_that_is_too_long_ends_the_connection_of_openpi(monkeypatch):
    monkeypatch.setattr('async_chunking.policies.remote.openpi.LARGEST', 1 << 16)
    with running(OpenpiPeer(long_answers('state'))) as server:
        source = opened(server.url, policy_timeout_s=30.0)
        with pytest.raises(RemoteError, match='message too big'):
            source.ask(OBSERVED)
        source.close()


def test_a_frame_that_is_too_long_never_reaches_us_from_gr00t(monkeypatch):
    monkeypatch.setattr('async_chunking.policies.remote.gr00t.LARGEST', 1 << 16)

    def rule(question: dict) -> list:
        if len(server.seen) == 1:
            return groups(question)
        return [{'arm': np.zeros((1, 2000, 6)), 'gripper': np.zeros((1, 2000, 1))}, {}]

    with running(Gr00tPeer(rule, NESTED)) as server:
        source = opened(server.url, GROOT)
        with pytest.raises(RemoteError, match='no answer'):
            source.ask(SEEN)
        source.close()


def test_a_chunk_of_too_many_rows_is_refused():
    with (
        running(OpenpiPeer(lambda observation: np.zeros((10_001, 7)))) as server,
        pytest.raises(RemoteError, match='at most 10000 rows'),
    ):
        opened(server.url)


@pytest.mark.parametrize(
    'content', [b'\xdd\xff\xff\xff\xff', b'\x91' * 100_000, b'\xc6\xff\xff\xff\xff']
)
def test_what_claims_to_be_huge_is_not_believed(content):
    with pytest.raises(WireError, match='not understood'):
        unpack(content)
