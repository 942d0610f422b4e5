"""Pytrees: which leaves are prunable, and which leaves of two trees correspond."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsm_optax._checks import is_known
from gsm_optax._kernels import kernels

Prunable: TypeAlias = Any | Callable[[Any], Any] | None
"""A boolean pytree or prefix, a callable from the params to one, or ``None``."""


def is_hole(leaf: Any) -> bool:
  """Whether a leaf of updates is empty: Equinox's None or Optax's masked node."""
  return leaf is None or isinstance(leaf, optax.MaskedNode)


def prunable_tree(prunable: Prunable, params: Any) -> Any:
  """A tree with the structure of `params` and a Python bool at every leaf.

  Args:
    prunable: in the form of `optax.masked`'s ``mask``; ``None`` means
      `kernels`.
    params: any pytree.

  Raises:
    ValueError: if the tree has neither the structure of `params` nor a prefix of it, or
      holds anything but booleans.
  """
  if prunable is None:
    prunable = kernels
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
  """Whether `prunable` is a tree of booleans, even a callable one such as a module."""
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
  """The leaves of `named_prunable_leaves`."""
  return [leaf for _, leaf in named_prunable_leaves(prunable, params)]


def named_prunable_leaves(prunable: Prunable, params: Any) -> list[tuple[str, Any]]:
  """The names and the prunable leaves of `params`, in tree order.

  Raises:
    ValueError: if nothing is prunable, or if a prunable leaf is neither floating-point
      nor complex.
  """
  mask = prunable_tree(prunable, params)
  leaves: list[tuple[Any, Any]] = jax.tree_util.tree_leaves_with_path(params)
  chosen = [
    (path_name(path), leaf)
    for (path, leaf), keep in zip(leaves, jax.tree.leaves(mask), strict=True)
    if keep
  ]
  for name, leaf in chosen:
    if not jnp.issubdtype(getattr(leaf, "dtype", object), jnp.inexact):
      raise ValueError(
        f"The prunable leaf {name!r} holds"
        f" {getattr(leaf, 'dtype', type(leaf).__name__)}, but only floating-point"
        " weights can be pruned: leave it out with `prunable`."
      )
  if not sum(leaf.size for _, leaf in chosen):
    raise ValueError(
      f"None of the {len(leaves)} leaves of the params holds a prunable weight. By"
      " default kernels are prunable, which have two axes longer than 1 and no name of"
      " a bias, scale or embedding: for others, give `prunable`; True is all."
    )
  return chosen


def match(tree: Any, updates: Any) -> list[Any]:
  """The leaves of `tree` that correspond to those of `updates`, in the same order.

  Holes in `updates` count as leaves. If the names agree, the containers may differ, as
  in `flax.nnx.State` with and without its `Param` wrappers.

  Raises:
    ValueError: if the trees do not correspond.
  """
  structure = jax.tree.structure(updates, is_leaf=is_hole)
  try:
    return [_unwrapped(node) for node in structure.flatten_up_to(tree)]
  except ValueError as error:
    if _same_places(tree, updates):
      return jax.tree.leaves(tree, is_leaf=is_hole)
    raise ValueError(
      f"A tree does not have the structure of the updates: {error}"
    ) from error


def _unwrapped(node: Any) -> Any:
  """The only leaf of a container, such as `flax.nnx.Param`; else the node itself."""
  leaves = jax.tree.leaves(node, is_leaf=is_hole)
  return leaves[0] if len(leaves) == 1 else node


def _same_places(tree: Any, other: Any) -> bool:
  """Whether two trees have leaves of the same names, in containers that may differ.

  Either tree may wrap a leaf in one more container: the other's path is then a prefix.
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


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
  """The names of a tree's leaves, and the leaves."""
  found = jax.tree_util.tree_leaves_with_path(tree)
  return [(path_name(path), leaf) for path, leaf in found]


def path_name(path: tuple[Any, ...]) -> str:
  """A path of keys, attributes and indices as a name, such as ``Dense_0/kernel``."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def printable(text: str) -> str:
  """The text with escapes for what a terminal would obey, or not show."""
  return "".join(
    each if each.isprintable() else each.encode("unicode_escape").decode()
    for each in text
  )
