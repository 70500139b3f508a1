# SPDX-License-Identifier: Apache-2.0
"""Keep JAX trees of arrays in safetensors files, with what describes them in JSON beside."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save_file

from async_chunking.errors import AsyncChunkingError
from async_chunking.storage import write_json


class TreeError(AsyncChunkingError):
    """A checkpoint belongs to something else."""


def save_tree(path: Path, tree: Any, about: dict) -> None:
    """
    Write a tree and its description; a reader sees the old or the new pair, never half a file.

    Args:
        path: Path of the safetensors file; the description gets the suffix .json.
        tree: Any nesting of arrays and keys for random numbers.
        about: What to say of it, as JSON.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf, order='C')
        for name, leaf in _named(tree)
    }
    save_file(arrays, unfinished := path.with_suffix('.unfinished'))
    os.replace(unfinished, path)
    write_json(about, path.with_suffix('.json'))


def load_tree(path: Path, like: Any) -> tuple[Any, dict]:
    """
    Read what `save_tree` wrote.

    Args:
        path: Path of the safetensors file.
        like: A tree of the same structure and shapes; numbers take its precision.

    Returns:
        The tree and its description.

    Raises:
        TreeError: The file holds a tree of another structure or other shapes.
    """
    arrays = load_file(path)
    leaves = []
    for name, leaf in _named(like):
        expected = jax.random.key_data(leaf) if _is_key(leaf) else leaf
        array = arrays.get(name)
        if array is None or array.shape != np.shape(expected):
            shape = None if array is None else array.shape
            wanted = np.shape(expected)
            msg = f'{path}: {name} has shape {shape} instead of {wanted}; remove the file'
            raise TreeError(msg)
        value = jnp.asarray(array, expected.dtype)
        leaves.append(jax.random.wrap_key_data(value) if _is_key(leaf) else value)
    tree = jax.tree.unflatten(jax.tree.structure(like), leaves)
    return tree, json.loads(path.with_suffix('.json').read_text())


def ship(path: Path, target: Path) -> None:
    """
    Write an expert that can act and no more learn, with its networks in half precision.

    Args:
        path: Path of the training, a file of `save_tree`.
        target: Path of the expert; its description leaves out the curve.
    """
    arrays = {
        name: array.astype(np.float16) if name.startswith('params/') else array
        for name, array in load_file(path).items()
        if not name.startswith('optimizer/')
    }
    about = json.loads(path.with_suffix('.json').read_text())
    kept = {key: value for key, value in about.items() if key not in ('curve', 'recent')}
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, target)
    write_json(kept, target.with_suffix('.json'))


def _named(tree: Any) -> list[tuple[str, Any]]:
    name = partial(jax.tree_util.keystr, simple=True, separator='/')
    return [(name(place), leaf) for place, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, 'dtype') and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
