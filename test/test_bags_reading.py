# SPDX-License-Identifier: Apache-2.0
"""A run means the same whether it is looked at live, simulated or recorded."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from scripted import limits, scripted_run

from async_chunking import metrics
from async_chunking.bags import columns, reading
from async_chunking.bags.compare import flatten
from async_chunking.bags.definitions import own_store
from async_chunking.bags.files import find
from async_chunking.bags.reading import RunReader
from async_chunking.bags.summary import summarize_bag
from async_chunking.bags.writer import BagWriter
from async_chunking.metrics.record import Run
from tools.recordings import export
from tools.recordings.export import TOPICS, serialize, write_run

PER_TICK = (
    'tick', 'phase', 'command', 'planned', 'measured', 'request_id', 'took_over', 'delay',
    'missed', 'emitted', 'deadline',
)  # fmt: skip


def cut(run: Run, part) -> Run:
    return replace(run, **{name: getattr(run, name)[part] for name in PER_TICK})


def figures_of(path: Path, strategy: str | None = None, **options):
    (bag,) = find([path])
    report = summarize_bag(bag, **options)
    (run,) = [run for run in report.runs if strategy in (None, run.strategy)]
    return run.figures, report.problems


def assert_equal(one, two, leave_out=()) -> None:
    one, two = flatten(one), flatten(two)
    assert one.keys() == two.keys()
    for name in one.keys() - set(leave_out):
        if isinstance(one[name], float):
            # Recorded positions have 32 bits, of which three differences keep less.
            tolerance = 1e-3 if 'jerk' in name else 1e-5
            assert two[name] == pytest.approx(one[name], rel=tolerance, abs=2e-6, nan_ok=True), (
                name
            )
        else:
            assert two[name] == one[name], name


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'agree': 0.9, 'success': False},
        {'merger': 'ensemble', 'success': None},
        {'merger': 'wait', 'delay': 2},
        {'delay': 12},
        {'policy_rate': 25.0, 'joints': 7},
    ],
    ids=str,
)
def test_simulated_live_and_recorded_runs_have_equal_figures(tmp_path, monkeypatch, options):
    monkeypatch.setattr(reading, '_PIECE', 50)
    run = scripted_run(**options)
    bounds = limits(run.command.shape[1])
    simulated = metrics.summarize(run, bounds)
    live = metrics.Tally(bounds)
    for index in range(len(run.tick)):
        live.add(cut(run, slice(index, index + 1)))
    assert_equal(simulated, live.figures())
    write_run(run, tmp_path / 'bag')
    recorded, problems = figures_of(tmp_path / 'bag', limits=bounds)
    assert problems == []
    assert_equal(simulated, recorded)
    assert recorded['takeovers'] > 0


def test_the_memory_of_a_run_does_not_grow_with_its_length(tmp_path, monkeypatch):
    """Nothing with a number per joint outlives its piece."""
    monkeypatch.setattr(reading, '_PIECE', 50)
    write_run(scripted_run(ticks=2000), tmp_path / 'bag')
    (bag,) = find([tmp_path / 'bag'])
    reader = RunReader(bag)
    for piece in reader.pieces():
        assert len(piece.run.tick) <= 50 + reading._LAG
        assert len(piece.run.exchanges) <= 30
        assert len(reader.exchanges) <= 60


def test_two_runs_in_one_recording_are_told_apart(tmp_path):
    runs = {7: scripted_run(seed=1, success=True), 9: scripted_run(seed=2, success=False)}
    with BagWriter(tmp_path / 'bag') as writer:
        for kind, topic in TOPICS.items():
            writer.add(f'/{topic}', kind)
        for run_id, run in runs.items():
            for kind, stamp, data in serialize(run, run_id):
                writer.write(f'/{TOPICS[kind]}', stamp, data)
    (bag,) = find([tmp_path / 'bag'])
    report = summarize_bag(bag)
    assert report.problems == []
    by_run = {run.key.run_id: run for run in report.runs}
    assert {run_id: run.trial for run_id, run in by_run.items()} == {7: '1/0', 9: '2/0'}
    for run_id, run in runs.items():
        assert_equal(metrics.summarize(run), by_run[run_id].figures)


def test_robots_in_two_namespaces_are_told_apart(tmp_path):
    """Their ticks are recorded in turns."""
    runs = {'/left': scripted_run(seed=1, success=True), '/right': scripted_run(seed=2, joints=5)}
    with BagWriter(tmp_path / 'bag') as writer:
        merged = []
        for number, (space, run) in enumerate(runs.items()):
            for kind, topic in TOPICS.items():
                writer.add(f'{space}/{topic}', kind)
            merged += [(m.stamp, space, m) for m in serialize(run, number + 1)]
        for stamp, space, message in sorted(merged, key=lambda item: item[0]):
            writer.write(f'{space}/{TOPICS[message.kind]}', stamp, message.data)
    (bag,) = find([tmp_path / 'bag'])
    report = summarize_bag(bag)
    assert report.problems == []
    for run in report.runs:
        assert_equal(metrics.summarize(runs[run.key.topic.rpartition('/')[0]]), run.figures)


def test_a_strategy_that_changes_within_a_run_starts_a_new_column(tmp_path):
    run = scripted_run(success=None)
    messages = list(serialize(run))
    with BagWriter(tmp_path / 'bag') as writer:
        for kind, topic in TOPICS.items():
            writer.add(f'/{topic}', kind)
        half = len(messages) // 2
        for kind, stamp, data in messages[:half]:
            writer.write(f'/{TOPICS[kind]}', stamp, data)
        for kind, stamp, data in list(serialize(replace(run, strategy='paint')))[half:]:
            writer.write(f'/{TOPICS[kind]}', stamp, data)
    (bag,) = find([tmp_path / 'bag'])
    report = summarize_bag(bag)
    ticks = {run.strategy: run.figures['ticks'] for run in report.runs}
    assert ticks.keys() == {'naive', 'paint'}
    assert sum(ticks.values()) == 300
    whole = metrics.summarize(run)
    seams = {run.strategy: run.figures['seams'] for run in report.runs}
    assert sum(seams.values()) == whole['seams']


def write_changed(path: Path, run: Run, change) -> Path:
    """Write a run whose deserialized messages are changed first."""
    store = own_store()
    with BagWriter(path) as writer:
        for kind, topic in TOPICS.items():
            writer.add(f'/{topic}', kind)
        for kind, stamp, data in serialize(run):
            message = store.deserialize_cdr(data, kind)
            changed = change(kind, message, stamp)
            if changed is not None:
                data = bytes(store.serialize_cdr(message, kind))  # noqa: PLW2901
                writer.write(f'/{TOPICS[kind]}', changed, data)
    return path


@pytest.mark.parametrize('seconds', [-3600, 3600])
def test_a_clock_that_jumps_changes_nothing_but_is_reported(tmp_path, seconds):
    run = scripted_run()

    def jump(kind, message, stamp):
        stamp += 10_000_000_000_000
        if kind == reading.STEP:
            moved = stamp + (message.tick >= 100) * seconds * 1_000_000_000
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(moved, 1_000_000_000)
        return stamp + (stamp >= 10_002_000_000_000) * seconds * 1_000_000_000

    figures, problems = figures_of(write_changed(tmp_path / 'bag', run, jump))
    assert_equal(metrics.summarize(run), figures)
    assert len(problems) == 1
    assert f'the clock was set by {seconds:+.1f} s at tick 100' in problems[0]


def test_ticks_that_were_not_recorded_are_counted(tmp_path):
    def lose(kind, message, stamp):
        return None if kind == reading.STEP and 50 <= message.tick < 60 else stamp

    figures, problems = figures_of(write_changed(tmp_path / 'bag', scripted_run(), lose))
    assert figures['ticks'] == 290
    assert len(problems) == 1
    assert '10 ticks between 0 and 299 are missing' in problems[0]


def test_a_recording_that_began_late_counts_from_there(tmp_path):
    run = replace(scripted_run(), counters={'starved_ticks': 5, 'late': 3})

    def late(kind, message, stamp):
        return stamp if kind != reading.STEP or message.tick >= 100 else None

    figures, problems = figures_of(write_changed(tmp_path / 'bag', run, late))
    assert problems == []
    assert (figures['ticks'], figures['late_chunks']) == (200, 0)


def test_messages_out_of_order_are_put_in_order(tmp_path):
    run = scripted_run()
    messages = list(serialize(run))
    rng = np.random.default_rng(0)
    shuffled = sorted(messages, key=lambda m: m.stamp + rng.uniform(0.0, 2e8))
    with BagWriter(tmp_path / 'bag') as writer:
        for kind, topic in TOPICS.items():
            writer.add(f'/{topic}', kind)
        for kind, stamp, data in shuffled:
            writer.write(f'/{TOPICS[kind]}', stamp, data)
    figures, problems = figures_of(tmp_path / 'bag')
    assert problems == []
    assert_equal(metrics.summarize(run), figures)


def test_missing_definitions_are_replaced_and_reported(tmp_path):
    run = scripted_run()
    path = tmp_path / 'bag'
    writer = Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3)
    with writer:
        connections = {
            kind: writer.add_connection(f'/{topic}', kind, typestore=own_store())
            for kind, topic in TOPICS.items()
        }
        for kind, stamp, data in serialize(run):
            writer.write(connections[kind], stamp, data)
    with sqlite3.connect(path / 'bag.db3') as database:
        database.execute('DROP TABLE message_definitions')
    figures, problems = figures_of(path)
    assert_equal(metrics.summarize(run), figures)
    assert len(problems) == 3
    assert 'the definition of async_chunking/msg/' in problems[0]


def test_messages_of_another_version_are_named(tmp_path):
    """A ControlStep without `took_over` cannot be used, and the report says so."""
    kind = reading.STEP
    definition, _ = own_store().generate_msgdef(kind, ros_version=2)
    definition = definition.replace('bool took_over\n', '')
    path = tmp_path / 'bag'
    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    store = get_typestore(Stores.ROS2_KILTED)
    store.register(get_types_from_msg(definition, kind))
    values = {
        name: ([] if shape.name == 'SEQUENCE' else '' if detail[0] == 'string' else 0)
        for name, (shape, detail) in store.fielddefs[kind][1]
    }
    values |= {
        'header': own_store().types['std_msgs/msg/Header'](
            own_store().types['builtin_interfaces/msg/Time'](0, 0), ''
        ),
        **{name: np.zeros(2, np.float32) for name in ('command', 'planned', 'measured')},
    }
    with writer:
        connection = writer.add_connection('/control_step', kind, typestore=store)
        raw = store.serialize_cdr(store.types[kind](**values), kind)
        writer.write(connection, 0, raw)
    (bag,) = find([path])
    report = summarize_bag(bag)
    assert report.runs == []
    assert '1 of 1 messages left out' in report.problems[0]
    assert 'no field took_over: recorded by another version' in report.problems[0]
    assert 'no ControlStep in it' in report.problems[-1] or 'no run' in report.problems[-1]


def test_a_snapshot_gives_limits_and_versions(tmp_path):
    run = scripted_run(joints=3)
    store = own_store()
    kind = reading.TEXT
    bounds = limits(3)
    content = {
        'robot': 'test', 'versions': {'python': '3'},
        'limits': {
            name: [None if np.isinf(v) else v for v in getattr(bounds, name)]
            for name in ('lower', 'upper', 'velocity', 'acceleration', 'jerk')
        },
    }  # fmt: skip
    with BagWriter(tmp_path / 'bag') as writer:
        for name, topic in TOPICS.items():
            writer.add(f'/{topic}', name)
        writer.add('/snapshot', kind)
        text = store.types[kind](json.dumps(content))
        writer.write('/snapshot', 0, bytes(store.serialize_cdr(text, kind)))
        for name, stamp, data in serialize(run):
            writer.write(f'/{TOPICS[name]}', stamp, data)
    (bag,) = find([tmp_path / 'bag'])
    report = summarize_bag(bag)
    assert report.problems == []
    assert report.runs[0].snapshot['versions'] == {'python': '3'}
    assert_equal(metrics.summarize(run, bounds), report.runs[0].figures)
    assert report.runs[0].figures['limits']['exceeded'] == 0
    assert report.runs[0].figures['limits']['acceleration_use'] > 0.5


def test_limits_of_another_robot_are_reported_and_left_out(tmp_path):
    write_run(scripted_run(joints=3), tmp_path / 'bag')
    figures, problems = figures_of(tmp_path / 'bag', limits=limits(5))
    assert figures['limits'] is None
    assert 'the limits are for 5 joints, the commands have 3' in problems[0]


def test_a_text_that_is_not_json_is_reported(tmp_path):
    def spoil(kind, message, stamp):
        if kind == reading.TEXT:
            message.data = '{"success": yes'
        return stamp

    figures, problems = figures_of(write_changed(tmp_path / 'bag', scripted_run(), spoil))
    assert figures['success'] is None
    assert 'topic /episode: 1 of 1 messages cannot be understood' in problems[0]


def _told(path: Path, said) -> Path:
    """Write runs, and texts between them: `said` are runs, or (topic, content)."""
    store, run_id = own_store(), 0  # A run that goes on keeps its number.
    with BagWriter(path) as writer:
        for kind, topic in {**TOPICS, reading.TEXT: 'snapshot'}.items():
            writer.add(f'/{topic}', kind)
        writer.add('/episode', reading.TEXT)
        for number, entry in enumerate(said):
            stamp = number * 10**11
            if isinstance(entry, Run):
                run_id = run_id if entry.tick[0] else number + 1
                for kind, later, data in serialize(entry, run_id):
                    writer.write(f'/{TOPICS[kind]}', stamp + later, data)
            else:
                topic, content = entry
                text = content if isinstance(content, str) else json.dumps(content)
                data = store.serialize_cdr(store.types[reading.TEXT](text), reading.TEXT)
                writer.write(f'/{topic}', stamp, bytes(data))
    return path


def _may(velocity: float, **more):
    """Return what a snapshot tells of joints that may do so much [rad/s]."""
    bounds = {'lower': -9.0, 'upper': 9.0, 'velocity': velocity, 'acceleration': 1e4}
    return 'snapshot', {'limits': {name: [value] * 3 for name, value in bounds.items()}, **more}


def _uses(path: Path) -> tuple[list[float], str]:
    (bag,) = find([path])
    report = summarize_bag(bag)
    limits = [run.figures['limits'] for run in report.runs]
    return [use and use['velocity_use'] for use in limits], ' '.join(report.problems)


def test_a_run_is_judged_by_the_limits_in_force_when_it_ran(tmp_path):
    run = scripted_run(joints=3, success=None)
    said = [_may(1.0), run, _may(2.0), run, _may(2.0), run]
    (one, two, three), problems = _uses(_told(tmp_path / 'bag', said))
    assert (one, two, problems) == (pytest.approx(2 * two), three, '')


@pytest.mark.parametrize(
    ('said', 'reason'),
    [
        (
            lambda one, two: [_may(1.0), one, _may(2.0), two],
            'the limits were changed while it ran',
        ),
        (lambda one, two: [one, two, _may(1.0)], 'it ended before the limits were told'),
        (lambda one, two: [('snapshot', '3'), one, two], "'3' is no JSON object"),
        (lambda one, two: [('snapshot', {'limits': 3}), one, two], 'the limits in the snapshot'),
        (
            lambda one, two: [_may(1.0, joint_names=['x', 'y', 'z']), one, two],
            'the commands of joint_0, joint_1, joint_2',
        ),
    ],
)
def test_limits_that_are_not_known_are_named_and_the_run_is_reported(tmp_path, said, reason):
    run = scripted_run(joints=3, success=None)
    half = cut(run, slice(0, 150)), cut(run, slice(150, 300))
    uses, problems = _uses(_told(tmp_path / 'bag', said(*half)))
    assert uses[-1] is None
    assert reason in problems


def test_limits_are_those_of_the_joints_not_of_their_places(tmp_path):
    run = scripted_run(joints=3, success=None)
    apart = {'limits': {
        'lower': [-9.0] * 3, 'upper': [9.0] * 3, 'velocity': [1.0, 1e6, 1e6],
        'acceleration': [1e4] * 3,
    }}  # fmt: skip
    uses = [
        _uses(_told(tmp_path / str(place), [
            ('snapshot', {**apart, 'joint_names': [f'joint_{i}' for i in order]}), run
        ]))[0][0]
        for place, order in enumerate(([0, 1, 2], [1, 2, 0]))
    ]  # fmt: skip
    speed = np.abs(np.diff(run.command, axis=0)).max(axis=0) / run.control_period
    assert uses == pytest.approx([speed[0], speed[1]], rel=1e-3)


@pytest.mark.parametrize(
    'content',
    [
        '3',
        'seven',
        '[1]',
        '{"a": 1}',
        '{"success": "no"}',
        '{"s',
        '{"success": true, "duration_s": NaN}',
        '{"success": true, "success": false, "duration_s": 1.0}',
    ],
)
def test_a_text_that_is_no_episode_costs_itself(tmp_path, content):
    run = scripted_run(success=None)
    good = ('episode', {'success': True, 'duration_s': 4.0})
    (bag,) = find([_told(tmp_path / 'bag', [run, ('episode', content), good])])
    report = summarize_bag(bag)
    assert [episode.success for episode in report.runs[0].episodes] == [True]
    assert 'topic /episode: 1 of 2 messages cannot be understood' in report.problems[0]


def test_an_episode_that_is_there_twice_counts_once(tmp_path):
    run, good = scripted_run(success=None), ('episode', {'success': True, 'duration_s': 4.0})
    path = _told(tmp_path / 'bag', [run, good, good])
    (bag,) = find([path])
    assert len(summarize_bag(bag).runs[0].episodes) == 2  # At other times: two attempts.
    copy = path / 'bag.bak.mcap'
    copy.write_bytes((path / 'bag.mcap').read_bytes())
    report = summarize_bag(replace(bag, files=[path / 'bag.mcap', copy], problems=[]))
    assert len(report.runs[0].episodes) == 2
    assert '300 ticks came twice' in ' '.join(report.problems)


def test_the_answers_of_two_robots_with_one_run_number_are_told_apart(tmp_path):
    runs = {'/left': scripted_run(seed=1, success=None), '/right': scripted_run(seed=2, delay=5)}
    with BagWriter(tmp_path / 'bag') as writer:
        merged = []
        for space, run in runs.items():
            for kind, topic in TOPICS.items():
                writer.add(f'{space}/{topic}', kind)
            merged += [(m.stamp, space, m) for m in serialize(run, 7)]
        for stamp, space, message in sorted(merged, key=lambda item: item[0]):
            writer.write(f'{space}/{TOPICS[message.kind]}', stamp, message.data)
    (bag,) = find([tmp_path / 'bag'])
    for run in summarize_bag(bag).runs:
        assert_equal(metrics.summarize(runs[run.key.namespace]), run.figures)


def test_an_empty_recording_says_so(tmp_path):
    with BagWriter(tmp_path / 'bag'):
        pass
    (bag,) = find([tmp_path / 'bag'])
    report = summarize_bag(bag)
    assert report.runs == []
    assert report.problems == [f'{tmp_path / "bag"}: no ControlStep in it, so no run to report']


def test_answers_that_did_not_take_over_are_not_kept(tmp_path):
    """Chunks of the wrong shape and refusals are no exchanges."""

    def spoil(kind, message, stamp):
        if kind == export.CHUNK and message.request_id % 3 == 0:
            message.rows = message.rows + 1
        return stamp

    run = scripted_run()
    figures, _ = figures_of(write_changed(tmp_path / 'bag', run, spoil))
    assert 0 < figures['seams'] < metrics.summarize(run)['seams']


def _over_limits(chunk):
    chunk.actions = chunk.actions + np.float32(9.0)


def _far_at_the_end(chunk):
    """Where it would take over, at row 4, it is the chunk that was accepted."""
    rows = chunk.actions.reshape(chunk.rows, -1).copy()
    rows[5:] += 9.0
    chunk.actions = rows.ravel()


def _not_finite(chunk):
    chunk.actions = chunk.actions + np.float32(0.05)
    chunk.actions[-1] = np.nan


def _wrong_size(chunk):
    chunk.rows, chunk.columns = chunk.columns, chunk.rows


def _wrong_tick(chunk):
    chunk.tick -= 1


def _wrong_joints(chunk):
    chunk.joint_names = chunk.joint_names[::-1]


def _refused(chunk):
    chunk.refusal = 'too warm'


@pytest.mark.parametrize('after', [False, True], ids=['before', 'after'])
@pytest.mark.parametrize('merger', ['switch', 'ensemble'])
@pytest.mark.parametrize(
    'spoil',
    [
        _over_limits, _far_at_the_end, _not_finite, _wrong_size, _wrong_tick, _wrong_joints,
        _refused,
    ],
)  # fmt: skip
def test_of_several_answers_the_one_that_was_played_counts(tmp_path, spoil, merger, after):
    """An answer that the executor turned down may come before the one that it took, or after."""
    run, store = scripted_run(merger=merger), own_store()
    with BagWriter(tmp_path / 'bag') as writer:
        for kind, topic in TOPICS.items():
            writer.add(f'/{topic}', kind)
        for kind, stamp, data in serialize(run):
            answers = [data]
            if kind == reading.CHUNK:
                chunk = store.deserialize_cdr(data, kind)
                chunk.conditioned_delay = 77
                spoil(chunk)
                answers.insert(int(after), bytes(store.serialize_cdr(chunk, kind)))
            for answer in answers:
                writer.write(f'/{TOPICS[kind]}', stamp, answer)
    figures, problems = figures_of(tmp_path / 'bag')
    assert problems == []
    assert_equal(metrics.summarize(run), figures)


@pytest.mark.parametrize('distro', [Stores.ROS2_HUMBLE, Stores.ROS2_JAZZY, Stores.ROS2_KILTED])
@pytest.mark.parametrize('storage', list(StoragePlugin))
def test_the_definitions_of_every_distribution_are_read(tmp_path, monkeypatch, distro, storage):
    store = get_typestore(distro)
    for name in ('ControlStep', 'ChunkRequest', 'ActionChunk'):
        text = (Path(__file__).parents[1] / 'msg' / f'{name}.msg').read_text()
        store.register(get_types_from_msg(text, f'async_chunking/msg/{name}'))
    run = scripted_run(ticks=100)
    # Ours must not be asked for.
    monkeypatch.setattr(columns, 'own_store', lambda: pytest.fail('definitions were not used'))
    with Writer(tmp_path / 'bag', version=9, storage_plugin=storage) as writer:
        connections = {
            kind: writer.add_connection(f'/{topic}', kind, typestore=store)
            for kind, topic in TOPICS.items()
        }
        for kind, stamp, data in serialize(run):
            writer.write(connections[kind], stamp, data)
    figures, problems = figures_of(tmp_path / 'bag')
    assert problems == []
    assert_equal(metrics.summarize(run), figures)


@pytest.mark.parametrize('tick', [0, 150, 299])
@pytest.mark.parametrize('odd', ['zeros', 'empty', 'wider'])
def test_one_odd_control_step_costs_itself_alone(tmp_path, tick, odd):
    def change(kind, message, stamp):
        if kind == reading.STEP and message.tick == tick:
            columns = {'zeros': 0, 'empty': 0, 'wider': 4}[odd]
            for name in ('command', 'planned', 'measured'):
                setattr(message, name, np.ones(columns, np.float32))
            if odd == 'zeros':  # As a block of the disk that was never written.
                message.run_id, message.tick, message.strategy, message.joint_names = 0, 0, '', []
        return stamp

    path = write_changed(tmp_path / 'bag', scripted_run(), change)
    (bag,) = find([path])
    report = summarize_bag(bag)
    (run,) = report.runs
    assert run.figures['ticks'] in (299, 300)
    assert len(run.marks) == 299
    assert any('left out' in problem for problem in report.problems)
