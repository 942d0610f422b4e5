"""Params in an Orbax checkpoint of their own."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from experiments.run.checkpoints import digest


def save_weights(path: Path, weights: Any) -> None:
  """Writes a tree of arrays into a new folder, and reads it back.

  Raises:
    ValueError: if what is read is not what was written.
  """
  # From the host, so that they can be read where there are other devices.
  arrays = jax.tree.map(np.asarray, weights)
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path.absolute(), arrays)
  if digest(load_weights(path)) != digest(arrays):
    raise ValueError("what was read back is not what was written")


def load_weights(path: Path) -> Any:
  """A tree of arrays written by `save_weights`, as nested dicts."""
  with ocp.StandardCheckpointer() as checkpointer:
    return _with_numbers(checkpointer.restore(path.absolute()))


def _with_numbers(tree: Any) -> Any:
  """The parts of a list by numbers, as Flax has them: Orbax makes strings of them."""
  if not isinstance(tree, dict):
    return tree
  numbered = all(name.isdigit() for name in tree)
  return {
    int(name) if numbered else name: _with_numbers(part) for name, part in tree.items()
  }
