# SPDX-License-Identifier: Apache-2.0
"""
The process that sends commands, apart from the one that listens to peers.

It deserialises nothing of a peer's and shares no interpreter with what does. What it needs to know
reaches it checked and of bounded size: `mailbox` holds newest values in shared memory, `link` is
all that joins the two processes, `process` is the sender, `handle` what the node has of it.
"""
