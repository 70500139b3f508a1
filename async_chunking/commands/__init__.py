# SPDX-License-Identifier: Apache-2.0
"""Commands of `async-chunking` that belong to no other part; `async_chunking.cli` lists them all."""
