"""Which leaves of a pytree are prunable, in the terms of `optax.masked`."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsm_optax._checks import is_known

Prunable: TypeAlias = Any | Callable[[Any], Any] | None
"""A boolean pytree (or prefix of one), a callable of the params, or ``None``."""


def is_hole(leaf: Any) -> bool:
  """Where a tree of updates holds nothing: Equinox's None, Optax's masked nodes."""
  return leaf is None or isinstance(leaf, optax.MaskedNode)


def two_or_more_dimensions(params: Any) -> Any:
  """The default `prunable`: kernels have two or more dimensions, the rest fewer."""
  return jax.tree.map(lambda leaf: getattr(leaf, "ndim", 0) >= 2, params)


def prunable_tree(prunable: Prunable, params: Any) -> Any:
  """A tree with the structure of `params` and a Python bool at every leaf.

  Args:
    prunable: as `optax.masked` takes its ``mask``; ``None`` is
      `two_or_more_dimensions`.
    params: any pytree.

  Raises:
    ValueError: if the tree is neither of the structure of `params` nor a prefix of
      it, or holds something other than booleans.
  """
  if prunable is None:
    prunable = two_or_more_dimensions
  mask = prunable if _is_mask(prunable) else prunable(params)
  try:
    mask = jax.tree.broadcast(mask, params)
  except ValueError as error:
    if _same_places(mask, params):
      structure = jax.tree.structure(params)
      return jax.tree.unflatten(structure, map(_as_bool, jax.tree.leaves(mask)))
    raise ValueError(
      "`prunable` must be a pytree of booleans with the structure of the params (or a"
      f" prefix of it), but it does not fit them: {error}"
    ) from error
  return jax.tree.map(_as_bool, mask)


def _is_mask(prunable: Any) -> bool:
  """Whether it is a tree of booleans: even one that can be called, as a module can."""
  if not callable(prunable):
    return True
  if isinstance(prunable, jax.tree_util.Partial):
    return False
  leaves = jax.tree.leaves(prunable)
  kinds = [getattr(leaf, "dtype", type(leaf)) for leaf in leaves]
  return bool(leaves) and all(kind in (bool, np.bool_) for kind in kinds)


def _as_bool(value: Any) -> bool:
  if isinstance(value, bool | np.bool_):
    return bool(value)
  is_array = isinstance(value, jax.Array | np.ndarray)
  if is_array and value.dtype == np.bool_ and value.shape == () and is_known(value):
    return bool(value)
  raise ValueError(
    "`prunable` says which leaves are pruned, so each of its leaves must be one boolean"
    f" known before tracing, but found {value!r}. For a mask of single weights use"
    " `gsm_optax.apply_mask` or `gsm_optax.freeze_pruned`."
  )


def prunable_leaves(prunable: Prunable, params: Any) -> list[Any]:
  """The prunable leaves of `params`, in tree order.

  Raises:
    ValueError: if nothing is prunable, or a prunable leaf does not hold floating
      point (or complex) numbers.
  """
  mask = prunable_tree(prunable, params)
  leaves: list[tuple[Any, Any]] = jax.tree_util.tree_leaves_with_path(params)
  chosen = [
    (path, leaf)
    for (path, leaf), keep in zip(leaves, jax.tree.leaves(mask), strict=True)
    if keep
  ]
  for path, leaf in chosen:
    if not jnp.issubdtype(getattr(leaf, "dtype", object), jnp.inexact):
      raise ValueError(
        f"The prunable leaf {path_name(path)!r} holds"
        f" {getattr(leaf, 'dtype', type(leaf).__name__)}, but only floating-point"
        " weights can be pruned: leave it out with `prunable`."
      )
  if not sum(leaf.size for _, leaf in chosen):
    raise ValueError(
      f"None of the {len(leaves)} leaves of the params holds a prunable weight. By"
      " default the leaves with two or more dimensions are prunable: name others with"
      " `prunable`."
    )
  return [leaf for _, leaf in chosen]


def match(tree: Any, updates: Any) -> list[Any]:
  """The leaves of `tree` that belong to the leaves of `updates`, in their order.

  The holes of `updates` count as leaves. The containers may differ, as those of
  `flax.nnx.State` with and without its `Param` wrappers, if the names do not.

  Raises:
    ValueError: if they do not correspond.
  """
  structure = jax.tree.structure(updates, is_leaf=is_hole)
  try:
    return structure.flatten_up_to(tree)
  except ValueError as error:
    if _same_places(tree, updates):
      return jax.tree.leaves(tree, is_leaf=is_hole)
    raise ValueError(
      f"A tree does not have the structure of the updates: {error}"
    ) from error


def _same_places(tree: Any, other: Any) -> bool:
  """Whether two trees have leaves of the same names, in containers that may differ.

  One container may be missing around a leaf: then its path is the start of the other.
  """
  paths, others = (
    [
      [jax.tree_util.keystr((key,), simple=True) for key in path]
      for path, _ in jax.tree_util.tree_leaves_with_path(each, is_leaf=is_hole)
    ]
    for each in (tree, other)
  )
  return len(paths) == len(others) and all(
    abs(len(path) - len(other_path)) <= 1
    and all(a == b for a, b in zip(path, other_path, strict=False))
    for path, other_path in zip(paths, others, strict=True)
  )


def path_name(path: tuple[Any, ...]) -> str:
  """``Dense_0/kernel`` for a path of keys, attributes and indices."""
  return jax.tree_util.keystr(path, simple=True, separator="/")
