"""Takes of trees the positions that a smaller function keeps."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.core import Tracer

from gsm_optax._shrink._dead import Kept


def slicer(params: Any, kept: Kept, alive: Kept) -> Callable[[Any], Any]:
  """See `Small.slice`."""
  own = [
    (path, tuple(leaf.shape), positions)
    for (path, leaf), *positions in zip(
      jax.tree_util.tree_leaves_with_path(params), kept, alive, strict=True
    )
  ]
  # One path may be the end of another, which it then is not.
  own.sort(key=lambda each: -len(each[0]))

  def slice_tree(tree: Any) -> Any:
    found = 0

    def slice_leaf(path: Any, leaf: Any) -> Any:
      nonlocal found
      shape = tuple(getattr(leaf, "shape", ()))
      for ending, before, positions in own:
        if shape == before and tuple(path)[len(path) - len(ending) :] == tuple(ending):
          found += 1
          return slice_array(leaf, *positions)
      return leaf

    result = jax.tree_util.tree_map_with_path(slice_leaf, tree)
    if not found:
      raise ValueError(
        "No leaf of the tree has the path and the shape of a leaf of the params."
      )
    return result

  return slice_tree


Positions = Sequence[npt.NDArray[np.int64]]
"""Of each axis."""


def slice_array(array: Any, positions: Positions, alive: Positions) -> Any:
  """The positions kept of each axis, with zeros where they are not alive."""
  taken = _take(array, positions)
  if list(map(len, positions)) == list(map(len, alive)):
    return taken
  idle = np.zeros(taken.shape, bool)
  for axis, (own, each) in enumerate(zip(positions, alive, strict=True)):
    behind = (1,) * (len(positions) - axis - 1)
    idle |= ~np.isin(own, each).reshape(-1, *behind)
  where = np.where if isinstance(taken, np.ndarray) else jnp.where
  return where(idle, np.zeros((), taken.dtype), taken)


def _take(array: Any, positions: Positions) -> Any:
  if tuple(array.shape) == tuple(map(len, positions)):
    return array
  traced = isinstance(array, Tracer)
  if isinstance(array, jax.Array) and not traced and array.is_fully_addressable:
    # By NumPy where that is all: JAX compiles an indexing anew for each shape.
    taken = jnp.asarray(np.asarray(array)[np.ix_(*positions)])
    if taken.devices() == array.devices():
      return taken
  return array[np.ix_(*positions)]
