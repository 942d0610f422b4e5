"""Tiles of leaves that are kept or dropped as a whole."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np

from gsm_optax._structures._structure import Structure
from gsm_optax._structures._sums import Part, sums
from gsm_optax._structures._tiles import check_divides, cut_axes, is_whole, join_axes
from gsm_optax._trees import path_name


def blocks(shape: Sequence[int], *, score: Literal["sum", "mean"] = "sum") -> Structure:
  r"""Blocks of weights: tiles of the last axes of each prunable leaf.

  .. math:: T(block) = \sum_{w \in block} T(w)

  Whole blocks are active or passive, and a share `density` of all blocks of the model
  is kept. All leaves have tiles of the same shape, so sums and means are in the same
  order.

  Args:
    shape: of a tile, such as ``(4, 1)``: four weights of neighbouring rows, in the same
      column. It is that of a leaf's last axes; on axes before them a tile has length 1.
    score: whether a block's score is the sum over its weights or their mean.

  Returns:
    A structure, for `gsm`, `sparsify`, `prune` and others.

  Raises:
    ValueError: if the shape is not of positive whole numbers; from where the structure
      is used, if a leaf cannot be cut so.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> weights = jnp.array([[1.0, 2.0], [0.0, 2.0], [3.0, 0.0], [1.0, 1.0]])
    >>> structure = gsm_optax.blocks((2, 1))
    >>> print(gsm_optax.magnitude_mask(weights, 0.5, structure=structure))
    [[False  True]
     [False  True]
     [ True False]
     [ True False]]
  """
  sizes = (shape,) if np.ndim(shape) == 0 else shape
  tile = tuple(int(n) if is_whole(n) else 0 for n in cast(Sequence[int], sizes))
  if not tile or not all(n > 0 for n in tile):
    raise ValueError(
      f"The shape of a block must be of positive whole numbers, not {shape!r}."
    )
  if score not in ("sum", "mean"):
    raise ValueError(f"`score` must be 'sum' or 'mean', not {score!r}.")
  name, size = f"blocks({tile})", math.prod(tile)

  def to_units(scores: Any) -> Any:
    def of_leaf(path: Any, leaf: jax.Array) -> jax.Array:
      for i, n in enumerate(tile):
        check_divides(name, path_name(path), leaf.shape, i - len(tile), n)
      total = sums([_part(leaf, tile)])
      return total if score == "sum" else total * np.float32(1 / size)

    return jax.tree_util.tree_map_with_path(of_leaf, scores)

  def to_weights(masks: Any, scores: Any) -> Any:
    def of_leaf(mask: jax.Array, leaf: jax.Array) -> jax.Array:
      cut = cut_axes(leaf, _lengths(leaf, tile))
      return join_axes(jnp.broadcast_to(_beside(mask), cut.shape), leaf.shape)

    return jax.tree.map(of_leaf, masks, scores)

  return Structure(to_units, to_weights, description=name)


def _lengths(leaf: jax.Array, tile: Sequence[int]) -> tuple[int, ...]:
  return (*[1] * (leaf.ndim - len(tile)), *tile)


def _beside(units: jax.Array) -> jax.Array:
  """With an axis of length 1 after each."""
  return jnp.expand_dims(units, tuple(range(1, 2 * units.ndim, 2)))


def _part(leaf: jax.Array, tile: Sequence[int]) -> Part:
  cut = cut_axes(leaf, _lengths(leaf, tile))
  within = tuple(range(1, cut.ndim, 2))

  def pool(array: jax.Array, by: Callable[..., Any]) -> jax.Array:
    return by(array, axis=within)

  return Part(cut, pool, _beside, math.prod(tile))
