# SPDX-License-Identifier: Apache-2.0
"""Which transport the sender's middleware uses: not shared memory.

A Fast DDS publisher that shares memory with a subscriber takes a mutex of that subscriber's port.
A subscriber that is pre-empted meanwhile, such as a recorder, then holds up the command.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rclpy.utilities import get_rmw_implementation_identifier

_RANGE, _PEERS = 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_STATIC_PEERS'
_PROFILES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')  # New name, old.
_PEER = '<locator><udpv4><address>{}</address></udpv4></locator>'
_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns="http://www.eprosima.com">
  <profiles>
    <transport_descriptors>
      <transport_descriptor>
        <transport_id>udp</transport_id>
        <type>UDPv4</type>
        <maxInitialPeersRange>32</maxInitialPeersRange>
      </transport_descriptor>
    </transport_descriptors>
    <participant profile_name="sender" is_default_profile="true">
      <rtps>
        <useBuiltinTransports>false</useBuiltinTransports>
        <userTransports><transport_id>udp</transport_id></userTransports>
        <builtin>
          <metatrafficUnicastLocatorList><locator/></metatrafficUnicastLocatorList>
          <initialPeersList>{peers}</initialPeersList>
        </builtin>
      </rtps>
    </participant>
  </profiles>
</dds>
"""


@contextmanager
def off_shared_memory() -> Iterator[None]:
    """Let this process's Fast DDS use UDP alone, if its first participant is made meanwhile.

    Where discovery is limited to this host, rmw_fastrtps adds shared memory whatever else is asked
    for; so that limit is given as a profile instead. A user's own profiles are left alone.
    """
    fast_dds = get_rmw_implementation_identifier().startswith('rmw_fastrtps')
    if not fast_dds or any(os.environ.get(name) for name in _PROFILES):
        yield
        return
    os.environ['FASTDDS_BUILTIN_TRANSPORTS'] = 'UDPv4'
    if os.environ.get(_RANGE, '').upper() != 'LOCALHOST':
        yield
        return
    peers = ['127.0.0.1', *filter(None, os.environ.get(_PEERS, '').split(';'))]
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix='async_chunking_') as folder:
        path = Path(folder, 'profile.xml')
        path.write_text(_PROFILE.format(peers=''.join(map(_PEER.format, peers))))
        old = os.environ.get('ROS_DISTRO') == 'jazzy'
        os.environ.update({_PROFILES[old]: str(path), _RANGE: 'SYSTEM_DEFAULT'})
        try:
            yield
        finally:
            os.environ.pop(_PROFILES[old])
            os.environ[_RANGE] = before[_RANGE]
