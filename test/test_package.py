# SPDX-License-Identifier: Apache-2.0
"""The files around the code: messages, versions, requirements, and what an installation holds."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

import async_chunking

packaging = pytest.importorskip('packaging.requirements')

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / 'requirements'
NOT_IN_THE_VENV = (
    'vla',
    'kinetix',
    'gym',
    'ray',
    'watch',
)  # large, or in an environment of their own
UNIT = re.compile(r'\[[^\[\]\n]+\]')  # on one line: the message generator fails on a broken one

if not (ROOT / 'package.xml').exists():
    pytest.skip('needs the source tree', allow_module_level=True)


def uncommented(text: str) -> list[str]:
    """Return the fields of a message file without a comment that gives a unit in brackets."""
    bad = []
    for block in text.split('\n\n'):
        lines = [line for line in block.splitlines() if line.strip()]
        above = '\n'.join(line for line in lines if line.startswith('#'))
        for line in lines:
            field, _, beside = line.partition('#')
            comment = beside if '=' in field else above
            if field and not (UNIT.search(comment) and UNIT.sub('', comment).strip('# \n.')):
                bad.append(field.strip())
    return bad


@pytest.mark.parametrize('path', sorted((ROOT / 'msg').glob('*.msg')), ids=lambda p: p.stem)
def test_every_message_field_says_its_meaning_and_unit(path: Path) -> None:
    assert uncommented(path.read_text()) == []


def test_the_message_check_can_fail() -> None:
    text = '# About the file [s].\n\nfloat64 a\n\n# Meaning.\nfloat64 b\n\n# [s]\nint32 c\n'
    text += '\n# Meaning [s]\nfloat64 d\nfloat64 e\n\nuint8 X=1\nuint8 Y=2  # meaning [id]\n'
    assert uncommented(text) == ['float64 a', 'float64 b', 'int32 c', 'uint8 X=1']


def test_nobody_is_told_to_install_the_package_by_name() -> None:
    """On an index that name may be anybody's: it is installed from a checkout."""
    texts = [p for f in ('async_chunking', 'docs') for p in (ROOT / f).rglob('*.*')]
    texts = [p for p in (*ROOT.glob('*.*'), *texts) if p.suffix in {'.py', '.md', '.rst', '.cfg'}]
    assert ROOT / 'README.md' in texts
    named = re.compile(r'pip install[^\n`]*\basync[-_]chunking')
    assert [str(p) for p in texts if named.search(p.read_text(encoding='utf-8'))] == []


def test_one_version() -> None:
    """`catkin_prepare_release` raises the one in package.xml and no other."""
    assert (
        ElementTree.parse(ROOT / 'package.xml').findtext('version') == async_chunking.__version__
    )
    files = [ROOT / 'setup.py', ROOT / 'setup.cfg', ROOT / 'async_chunking' / '__init__.py']
    assert not [p for p in files if re.search(r'version\W+\d', p.read_text())]


@pytest.mark.parametrize('place', ['checkout', 'prefix'])
def test_the_version_is_known_where_pip_installed_nothing(place: str, tmp_path: Path) -> None:
    library, share = tmp_path, tmp_path
    if place == 'prefix':  # As colcon and a deb leave it.
        library = tmp_path / 'lib' / 'python3' / 'site-packages'
        share = tmp_path / 'share' / 'async_chunking'
    (library / 'async_chunking').mkdir(parents=True)
    share.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / 'async_chunking' / '__init__.py', library / 'async_chunking')
    manifest = (ROOT / 'package.xml').read_text().replace('<version>', '<version>9')
    (share / 'package.xml').write_text(manifest)
    code = f'import sys; sys.path.insert(0, {str(library)!r}); import async_chunking as a; '
    done = subprocess.run(
        [sys.executable, '-S', '-c', code + 'print(a.__version__)'],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == f'9{async_chunking.__version__}', done.stderr


def test_every_import_is_declared_in_package_xml() -> None:
    """What rosdep has a key for; in an installation nobody else brings it."""
    tree = ElementTree.parse(ROOT / 'package.xml').getroot()
    declared = {tag.text for tag in tree if tag.tag.endswith('depend')}
    keys = {
        'PIL': 'python3-pil', 'mujoco': 'python3-mujoco-pip', 'rosbags': 'python3-rosbags-pip',
        'yaml': 'python3-yaml',
        **{
            name: f'python3-{name}'
            for name in ('matplotlib', 'numpy', 'pydantic', 'rich', 'scipy', 'torch', 'typer')
        },
    }  # fmt: skip
    imported = set()
    for path in [*(ROOT / 'async_chunking').rglob('*.py'), *(ROOT / 'launch').glob('*.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split('.')[0])
            elif isinstance(node, ast.Import):
                imported |= {alias.name.split('.')[0] for alias in node.names}
        imported |= {
            name.split('/')[0] for name in re.findall(r"'(\w+/msg/\w+)'", path.read_text())
        }
    ros = {name for name in imported if name.endswith(('_msgs', '_interfaces', '_srvs'))}
    ros -= {'interbotix_xs_msgs'}  # In no distribution.
    ros |= imported & {'rclpy', 'launch', 'launch_ros', 'ament_index_python'}
    wanted = ros | {keys[name] for name in imported & keys.keys()}
    assert len(ros) > 12
    assert wanted <= declared, wanted - declared


def pins(name: str) -> dict[str, str]:
    lines = (REQUIREMENTS / f'{name}.txt').read_text().splitlines()
    wanted = [packaging.Requirement(line) for line in lines if not line.startswith('#')]
    assert all(re.fullmatch(r'==[^*]+', str(r.specifier)) for r in wanted), 'pin exact versions'
    return {r.name.lower(): str(r.specifier)[2:] for r in wanted}


def test_what_setup_cfg_asks_for_is_pinned_within_its_range() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    pinned = pins('python')
    extras = dict(config['options.extras_require'])
    lists = [config['options']['install_requires']]
    lists += [text for name, text in extras.items() if name not in NOT_IN_THE_VENV]
    for line in '\n'.join(lists).split('\n'):
        if line.strip():
            wanted = packaging.Requirement(line)
            assert pinned.get(wanted.name) in wanted.specifier, f'{line} is not pinned so'


def test_distributions_share_what_is_not_ros() -> None:
    kilted, jazzy = pins('kilted'), pins('jazzy')
    other = {name for name in kilted | jazzy if not name.startswith('ros-')}
    assert {n: kilted.get(n) for n in other} == {n: jazzy.get(n) for n in other}
    assert not other & set(pins('python'))
    assert kilted['ros-rclpy'] != jazzy['ros-rclpy']


def test_ros_packages_of_package_xml_are_pinned() -> None:
    tree = ElementTree.parse(ROOT / 'package.xml').getroot()
    wanted = {tag.text for tag in tree if tag.tag.endswith('depend')}
    no_wheel = {
        'ament_cmake_pytest', 'control_msgs', 'launch', 'launch_ros', 'ros2bag', 'ros2launch',
        'rosbag2_storage_mcap', 'tf2_msgs',
    }  # fmt: skip
    ros = {n for n in wanted - no_wheel if not n.startswith('python3-')}
    for distro in ('kilted', 'jazzy'):
        assert {f'ros-{name.replace("_", "-")}' for name in ros} <= set(pins(distro))


def test_nothing_pulls_gpu_libraries() -> None:
    every = pins('python') | pins('kilted') | pins('jazzy')
    assert not [name for name in every if name.startswith(('nvidia', 'cuda', 'triton'))]
    assert every['torch'] == '2.13.0'


def test_files_name_no_registry_host_and_no_private_place() -> None:
    if not (ROOT / '.git').exists() or not shutil.which('git'):
        pytest.skip('not a git checkout')
    listed = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, check=True)
    hosts = r'pypi\.org|python[h]osted|npm[j]s\.|download\.py[t]orch|deb\.debi[a]n'
    hosts += r'|/w[o]rk/|/tmp/b[r]ief'
    for name in listed.stdout.decode().split('\0'):
        path = ROOT / name
        if path.is_file() and b'\0' not in (content := path.read_bytes()):
            host = re.search(hosts.encode(), content)
            assert not host, f'{name}: {host}'


def test_python_files_begin_with_the_licence() -> None:
    for path in [*ROOT.glob('*.py'), *(ROOT / 'async_chunking').rglob('*.py')]:
        lines = [line for line in path.read_text().splitlines()[:2] if not line.startswith('#!')]
        assert lines[:1] == ['# SPDX-License-Identifier: Apache-2.0'], path


def test_wheel_holds_code_and_data(tmp_path: Path) -> None:
    pytest.importorskip('setuptools')
    source = tmp_path / 'source'
    ignore = shutil.ignore_patterns('__pycache__')
    for name in ('async_chunking', 'config', 'tools', 'test'):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in (
        'setup.py', 'setup.cfg', 'package.xml', 'pyproject.toml', 'README.md', 'LICENSE',
    ):  # fmt: skip
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    command = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation']
    subprocess.run([*command, '-w', tmp_path, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob('*.whl')
    names = set(zipfile.ZipFile(wheel).namelist())
    assert not {name for name in names if name.startswith(('tools/', 'test/'))}
    endings = {'.py', '.yaml', '.xml', '.json', '.safetensors'}
    for path in (source / 'async_chunking').rglob('*'):
        if path.suffix in endings:
            assert path.relative_to(source).as_posix() in names
    shared = {name for name in names if '/data/share/async_chunking/config/' in name}
    assert len(shared) == len(list((ROOT / 'config').glob('*.yaml')))


def test_colcon_installation_keeps_our_init() -> None:
    built = ROOT / 'install' / 'async_chunking'
    installed = list(built.glob('lib/python3*/site-packages/async_chunking/__init__.py'))
    if not installed:
        pytest.skip('not built with colcon')
    assert 'extend_path' in installed[0].read_text()
    for name in ('config', 'launch'):
        if list((ROOT / name).glob('*.*')):
            assert (built / 'share' / 'async_chunking' / name).is_dir()
