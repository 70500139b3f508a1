# SPDX-License-Identifier: Apache-2.0
"""How a chunk is drawn: one file per sampler, torch only; named in `async_chunking.strategies`."""
