"""The choice of weights: of the best ones, or of all weights of the best units."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsm_optax._checks import is_known
from gsm_optax._structures._structure import Structure
from gsm_optax._threshold import (
  Leaf,
  find_threshold,
  is_nonzero,
  largest,
  largest_nonzero,
  reaches,
  signed_pattern,
  varying_axes,
)
from gsm_optax._trees import Prunable, is_hole, prunable_tree


class Leaves(NamedTuple):
  """Where the prunable leaves are in a tree.

  Attributes:
    tree: its structure, in which holes count as leaves.
    places: the numbers of the prunable leaves.
  """

  tree: Any
  places: Sequence[int]

  @classmethod
  def of(cls, prunable: Prunable, params: Any, updates: Any = None) -> "Leaves":
    """The prunable leaves of params, or of updates, of which some may be missing."""
    like = params if updates is None else updates
    leaves, tree = jax.tree.flatten(like, is_leaf=is_hole)
    chosen = tree.flatten_up_to(prunable_tree(prunable, params))
    places = [i for i, leaf in enumerate(leaves) if not is_hole(leaf) and chosen[i]]
    return cls(tree, places)

  def in_tree(self, arrays: Sequence[Any]) -> Any:
    """The tree with an array for each prunable leaf, and nothing elsewhere."""
    leaves: list[Any] = [optax.MaskedNode()] * self.tree.num_leaves
    for place, array in zip(self.places, arrays, strict=True):
      leaves[place] = array
    return self.tree.unflatten(leaves)

  def of_tree(self, tree: Any) -> list[Any]:
    """The prunable leaves of a tree."""
    leaves = self.tree.flatten_up_to(tree)
    return [leaves[place] for place in self.places]


def top_of(
  structure: Structure | None,
  leaves: Leaves,
  operands: Sequence[Leaf],
  score: Callable[..., jax.Array],
  density: Any,
  start: jax.Array,
) -> tuple[list[jax.Array], jax.Array, jax.Array]:
  """Marks what reaches the Q-th greatest score; all that tie with it are marked.

  Args:
    structure: what has units; ``None``: each weight is one.
    leaves: where the prunable leaves are.
    operands: of each of them, the arrays that its scores are computed of.
    score: computes them.
    density: the share of the units to mark.
    start: a guess of the threshold.

  Returns:
    A mask for each leaf, the threshold, and the number of passes that finding it took.
  """
  if structure is None:
    threshold, passes = find_threshold(operands, score, density, start)
    return (
      [reaches(score(*arrays), threshold) for arrays in operands],
      threshold,
      passes,
    )
  scores = leaves.in_tree([score(*arrays) for arrays in operands])
  units, tree = _units(structure, scores)
  n = structure.kept_of_last_axis
  if n is None:
    threshold, passes = find_threshold([(x,) for x in units], _as_is, density, start)
    masks = [reaches(unit, threshold) for unit in units]
  else:
    threshold, passes = jnp.zeros_like(start), jnp.zeros((), jnp.int32)
    masks = [_top_of_last_axis(unit, n, ties=True) for unit in units]
  return _to_weights(structure, leaves, tree, masks, scores), threshold, passes


def largest_of(
  structure: Structure | None, leaves: Leaves, weights: Sequence[Any], density: Any
) -> list[jax.Array]:
  """Marks exactly Q units of greatest magnitude; of equal ones the first.

  Args:
    structure: what has units; ``None``: each weight is one.
    leaves: where the weights' leaves are.
    weights: the prunable leaves.
    density: the share of the units to mark.

  Returns:
    A mask for each leaf.
  """
  return _by_magnitude(structure, leaves, weights, density, largest, zeros=True)


def nonzero_of(
  structure: Structure | None, leaves: Leaves, weights: Sequence[Any], density: Any
) -> list[jax.Array]:
  """Marks the units that are not zero; if these are more than Q, the `largest_of`."""
  return _by_magnitude(
    structure, leaves, weights, density, largest_nonzero, zeros=False
  )


def left_of(
  structure: Structure | None, leaves: Leaves, weights: Sequence[Any]
) -> list[jax.Array]:
  """Marks what is not zero; with units, all weights of those that are not."""
  return _by_magnitude(structure, leaves, weights, None, _nonzero, zeros=False)


def _nonzero(arrays: Sequence[Any], density: Any) -> list[jax.Array]:
  del density
  return [is_nonzero(array) for array in arrays]


def _by_magnitude(
  structure: Structure | None,
  leaves: Leaves,
  weights: Sequence[Any],
  density: Any,
  choose: Callable[[Sequence[Any], Any], list[jax.Array]],
  zeros: bool,
) -> list[jax.Array]:
  if structure is None:
    return choose(weights, density)
  magnitudes = leaves.in_tree([_magnitude(leaf) for leaf in weights])
  units, tree = _units(structure, magnitudes)
  n = structure.kept_of_last_axis
  if n is None:
    masks = choose(units, density)
  else:
    masks = [_top_of_last_axis(unit, n, ties=False) for unit in units]
    if not zeros:
      masks = [mask & is_nonzero(unit) for mask, unit in zip(masks, units, strict=True)]
  return _to_weights(structure, leaves, tree, masks, magnitudes)


def nonzero_units(structure: Structure, leaves: Leaves, weights: Sequence[Any]) -> Any:
  """Which units of concrete weights are not zero: a tree of boolean NumPy arrays."""
  units, tree = _units(
    structure, leaves.in_tree([_magnitude(leaf) for leaf in weights])
  )
  return tree.unflatten([np.asarray(is_nonzero(unit)) for unit in units])


def _magnitude(leaf: Any) -> jax.Array:
  return jnp.abs(leaf).astype(jnp.float32)


def _as_is(scores: jax.Array) -> jax.Array:
  return scores


def _top_of_last_axis(scores: jax.Array, n: int, ties: bool) -> jax.Array:
  """The n greatest along the last axis; all that tie with them, or else the first."""
  if scores.shape[-1] < n:
    raise ValueError(f"Of {scores.shape[-1]} units along an axis, {n} cannot be kept.")
  pattern = signed_pattern(scores)
  # What is not a number is not ranked, and passes.
  is_nan = (pattern & np.int32(0x7FFFFFFF)) > np.int32(0x7F800000)
  pattern = jnp.where(is_nan, -1 if ties else np.int32(0x7F800000), pattern)
  one, other = pattern[..., :, None], pattern[..., None, :]
  better = other > one
  if not ties:
    index = jnp.arange(scores.shape[-1])
    better |= (other == one) & (index[None, :] < index[:, None])
  top = better.sum(-1) < n
  return top | is_nan if ties else top


def _units(structure: Structure, scores: Any) -> tuple[list[jax.Array], Any]:
  """The units' scores, and the tree that they are in."""
  arrays = jax.tree.leaves(scores)
  if any(isinstance(x, jax.Array) and varying_axes(x) for x in arrays):
    raise ValueError(
      "A structure needs whole leaves, but inside of `jax.shard_map` there are only"
      " parts of them: call the optimizer outside of it, where arrays may be sharded."
    )
  units, tree = jax.tree.flatten(structure.to_units(scores))
  for unit in units:
    kind = getattr(unit, "dtype", type(unit))
    if not hasattr(unit, "shape") or not jnp.issubdtype(kind, jnp.floating):
      raise ValueError(
        f"`to_units` of the structure returned scores of {kind}, but they must be"
        " floating-point arrays."
      )
    if is_known(unit) and jnp.any(unit < 0):
      raise ValueError(
        "`to_units` of the structure returned a score below zero, but zero is that of a"
        " unit that has been pruned: return the exponential of the score, say."
      )
  if not units or not sum(unit.size for unit in units):
    raise ValueError("The structure has no units in the prunable leaves.")
  return units, tree


def count_units(structure: Structure, leaves: Leaves, shapes: Sequence[Any]) -> int:
  """The number of units in prunable leaves of these shapes."""
  abstract = [jax.ShapeDtypeStruct(leaf.shape, jnp.float32) for leaf in shapes]
  units = jax.eval_shape(structure.to_units, leaves.in_tree(abstract))
  return sum(unit.size for unit in jax.tree.leaves(units))


def _to_weights(
  structure: Structure, leaves: Leaves, tree: Any, masks: Sequence[Any], scores: Any
) -> list[jax.Array]:
  result = structure.to_weights(tree.unflatten(masks), scores)
  try:
    found = leaves.of_tree(result)
  except ValueError as error:
    raise ValueError(
      "`to_weights` of the structure must return a tree like its scores, but they do"
      f" not fit: {error}"
    ) from error
  for mask, leaf in zip(found, leaves.of_tree(scores), strict=True):
    is_mask = hasattr(mask, "dtype") and jnp.issubdtype(mask.dtype, jnp.bool_)
    if not is_mask or mask.shape != leaf.shape:
      raise ValueError(
        "`to_weights` of the structure must return a boolean array of each leaf's"
        f" shape, here {leaf.shape}, not {mask!r}."
      )
  return [
    _split_like(mask, leaf)
    for mask, leaf in zip(found, leaves.of_tree(scores), strict=True)
  ]


def _split_like(mask: jax.Array, leaf: jax.Array) -> jax.Array:
  """The mask, split over devices as a leaf is, where types say how that is."""
  sharding = jax.typeof(leaf).sharding
  if sharding.mesh.empty or not sharding.mesh.are_all_axes_explicit:
    return mask
  return jax.sharding.reshard(mask, sharding)
