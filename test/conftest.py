# SPDX-License-Identifier: Apache-2.0
"""What all tests share: a ROS domain of their own, so that two runs on a machine do not meet."""

from __future__ import annotations

import os
import socket

import pytest

# Networks here are small: more threads cost more than they bring, above all on a busy machine.
os.environ.setdefault('OMP_NUM_THREADS', '1')


@pytest.fixture(scope='session', autouse=True)
def ros_domain_id() -> int:
    """Give this run, and the processes it starts, a free ROS domain on this machine alone.

    A bound TCP port is the lock, since it goes away with the process that holds it. Domain d uses
    UDP ports from 7400 + 250 d on; the TCP port of that number is free for this.
    """
    with socket.socket() as lock, pytest.MonkeyPatch.context() as patch:
        for offset in range(100):
            domain = 1 + (os.getpid() + offset) % 100
            try:
                lock.bind(('127.0.0.1', 7400 + 250 * domain))
                break
            except OSError:
                continue
        else:
            pytest.fail('all ROS domains from 1 to 100 are taken by other test runs')
        patch.setenv('ROS_DOMAIN_ID', str(domain))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        yield domain
