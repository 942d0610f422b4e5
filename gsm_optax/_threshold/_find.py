"""Thresholds of given scores by rank, and of computed scores by density."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gsm_optax._checks import is_known
from gsm_optax._threshold._bisection import bisect
from gsm_optax._threshold._patterns import bit_pattern, widen
from gsm_optax._threshold._quota import quota
from gsm_optax._threshold._scores import Leaf, global_size, signed_pattern
from gsm_optax._threshold._search import search
from gsm_optax._threshold._wide_int import WideInt


def global_threshold(scores: Any, q: int | jax.Array) -> jax.Array:
  r"""The exact q-th greatest value over all leaves of a pytree of non-negative scores.

  .. math:: \max \{t : \#\{i : s_i \ge t\} \ge q\}

  Leaves may differ in shape, floating-point type and sharding; nothing is sorted or
  moved between devices. NaN scores are not ranked.

  Args:
    scores: a pytree of floating-point arrays, non-negative (-0.0 counts as 0).
    q: from 1 to the number of scores; a Python int, or an integer scalar that may be
      traced, and is then clipped to this range.

  Returns:
    A float32 scalar (float64 if a leaf is float64). It is 0, which every score reaches,
    if fewer than q scores can be ranked.

  Raises:
    ValueError: if the tree has no scores, if they are not floating-point, or if `q` is
      not a whole number or is known to be out of range.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> scores = {"a": jnp.array([3.0, 1.0]), "b": jnp.array([[2.0], [5.0]])}
    >>> float(gsm_optax.global_threshold(scores, 2))
    3.0
  """
  leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(scores)]
  for leaf in leaves:
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
      raise ValueError(f"Scores must be floating-point, but a leaf holds {leaf.dtype}.")
  leaves = [leaf for leaf in leaves if leaf.size]
  if not leaves:
    raise ValueError("There are no scores to choose from: the tree is empty.")
  rank = _rank(q, sum(global_size(leaf) for leaf in leaves))
  dtype = jnp.result_type(jnp.float32, *leaves)
  leaves = [widen(leaf, dtype) for leaf in leaves]
  if dtype == jnp.float64:
    pattern = bisect([bit_pattern(leaf) for leaf in leaves], rank)
    return lax.bitcast_convert_type(pattern, dtype)
  threshold, _ = search([(leaf,) for leaf in leaves], _as_given, rank, jnp.float32(0))
  return threshold


def _as_given(scores: jax.Array) -> jax.Array:
  return scores


def _rank(q: Any, size: int) -> WideInt:
  kind = bool if isinstance(q, bool) else getattr(q, "dtype", type(q))
  is_whole = kind is int or (kind is not bool and jnp.issubdtype(kind, jnp.integer))
  if not is_whole or np.shape(q):
    raise ValueError(f"q must be a number of scores, a whole one, not {q!r}.")
  if is_known(q):
    if not 1 <= int(q) <= size:
      raise ValueError(f"q must be from 1 to {size}, the number of scores, not {q}.")
    return WideInt.of(int(q))
  positive, all_ = WideInt.of(jnp.maximum(q, 1)), WideInt.of(size)
  return WideInt.where(all_ >= positive, positive, all_)


def find_threshold(
  leaves: Sequence[Leaf],
  score: Callable[..., jax.Array],
  density: Any,
  start: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """The least of the ``floor(density * n)`` greatest scores.

  Args:
    leaves: for each leaf, arrays of one shape from which its scores are computed. The
      scores of large leaves are not kept, but computed anew in each pass.
    score: computes the scores of a leaf, float32 and non-negative, from its arrays. It
      is called several times; pass the same function at each step.
    density: the share of the scores to choose, as `quota` takes it.
    start: a float32 near the answer, such as the last step's threshold.

  Returns:
    The threshold, a float32 scalar to pass to `reaches`, and the number of passes over
    the scores.
  """
  rank = quota(density, sum(global_size(first) for first, *_ in leaves))
  return search(leaves, score, rank, start)


def reaches(scores: jax.Array, threshold: jax.Array) -> jax.Array:
  """Which float32 scores are at least the threshold, exact for subnormals too.

  NaN of either sign reaches it. (On a TPU, comparing unsigned patterns or floats
  instead moves half as many words again in the update that follows.)
  """
  pattern = signed_pattern(scores) & np.int32(2**31 - 1)
  return pattern >= signed_pattern(threshold)
