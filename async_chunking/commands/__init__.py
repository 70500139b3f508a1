# SPDX-License-Identifier: Apache-2.0
"""Commands of `async-chunking` that belong to no other part; see `async_chunking.cli`."""
