# SPDX-License-Identifier: Apache-2.0
"""Who can reach the nodes: by default only this host, and nobody where security is enforced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from test_two_hosts import POLICY_HOST, ROBOT_HOST, hosts  # noqa: F401

# Says hello for some seconds, and prints whether the other one was heard.
MEET = """
import rclpy, sys, time
from std_msgs.msg import String
from async_chunking import ros_environment
ros_environment.activate()
rclpy.init()
node = rclpy.create_node(sys.argv[1])
heard = set()
node.create_subscription(String, 'hello', lambda m: heard.add(m.data), 10)
publisher = node.create_publisher(String, 'hello', 10)
deadline = time.monotonic() + float(sys.argv[2])
while time.monotonic() < deadline and len(heard) < 2:
    publisher.publish(String(data=sys.argv[1]))
    rclpy.spin_once(node, timeout_sec=0.05)
end = time.monotonic() + 1.0
while time.monotonic() < end:
    publisher.publish(String(data=sys.argv[1]))
    rclpy.spin_once(node, timeout_sec=0.05)
print(' '.join(sorted(heard)))
"""


def meet(seconds: float, **variables: str) -> list[str]:
    """Let a node on each of two hosts say hello; return what each heard."""
    kept = {k: v for k, v in os.environ.items() if k != 'ROS_AUTOMATIC_DISCOVERY_RANGE'}
    running = [
        subprocess.Popen(
            ['ip', 'netns', 'exec', host, sys.executable, '-c', MEET, name, str(seconds)],
            env=kept | {'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'} | variables,
            stdout=subprocess.PIPE, text=True,
        )
        for name, host in (('robot', ROBOT_HOST), ('policy', POLICY_HOST))
    ]  # fmt: skip
    return [process.communicate(timeout=seconds + 120.0)[0].strip() for process in running]


def test_two_hosts_meet_only_if_the_user_says_so(hosts) -> None:  # noqa: F811
    assert meet(60.0, ROS_AUTOMATIC_DISCOVERY_RANGE='SUBNET') == ['policy robot'] * 2
    assert meet(5.0) == ['robot', 'policy']


def test_where_security_is_enforced_no_node_starts_without_it(tmp_path: Path, ros_domain_id):
    """Whether or not the middleware can do security, a bad keystore must not be ignored."""
    enclave = tmp_path / 'enclaves' / 'robot'
    enclave.mkdir(parents=True)
    for name in (
        'identity_ca.cert.pem', 'cert.pem', 'key.pem', 'permissions_ca.cert.pem',
        'governance.p7s', 'permissions.p7s',
    ):  # fmt: skip
        (enclave / name).write_text('not a certificate')
    secured = {
        'ROS_SECURITY_KEYSTORE': str(tmp_path), 'ROS_SECURITY_ENABLE': 'true',
        'ROS_SECURITY_STRATEGY': 'Enforce',
    }  # fmt: skip
    command = [
        sys.executable, '-m', 'async_chunking.nodes.delay_monitor_node', '--ros-args',
        '--enclave', '/robot', '-p', 'autostart:=true',
    ]  # fmt: skip
    done = subprocess.run(
        command, env=os.environ | secured, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0
    assert 'ecurity' in done.stderr
