"""The exact q-th greatest value of a pytree, without sort, copy or gather.

The bit pattern of a non-negative float, read as an unsigned integer, orders as the
float does. So the q-th greatest score is the greatest pattern that at least q scores
reach, and it is found by counting: each pass is one reduction per leaf. Comparing
patterns also keeps subnormal scores apart, which float comparisons on some backends
flush to zero.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gsm_optax._counting import Count, count_true, total


def bit_pattern(scores: jax.Array) -> jax.Array:
  """Patterns that order as the non-negative `scores` do: uint32 (uint64 for float64).

  NaN lies above infinity's pattern, and so does everything with the sign bit set.
  """
  if scores.dtype == jnp.float64:
    return lax.bitcast_convert_type(scores, jnp.uint64)
  return lax.bitcast_convert_type(scores.astype(jnp.float32), jnp.uint32)


def widen(scores: jax.Array, dtype: Any) -> jax.Array:
  """The `scores`, non-negative, in a type that holds them, subnormal ones included."""
  wide = scores.astype(dtype)
  if dtype != jnp.float64 or scores.dtype == jnp.float64:
    return wide
  # Some backends flush subnormals where they convert from float32.
  bits = bit_pattern(scores)
  least = np.finfo(np.float32).smallest_subnormal
  return jnp.where(bits < 1 << 23, bits.astype(dtype) * float(least), wide)


def magnitude_pattern(weights: jax.Array, dtype: Any) -> jax.Array:
  """`bit_pattern` of the magnitudes, computed in `dtype`: 0 for zeros and no others."""
  return bit_pattern(widen(jnp.abs(weights), dtype))


def real_dtype(arrays: Sequence[Any]) -> Any:
  """The type that holds the magnitudes of all `arrays` exactly: float32 or float64."""
  return jnp.result_type(jnp.float32, *(jnp.finfo(a.dtype).dtype for a in arrays))


def infinity(dtype: Any) -> np.unsignedinteger[Any]:
  """The pattern of infinity: no score that is a number lies above it."""
  if dtype == jnp.uint64:
    return np.float64(np.inf).view(np.uint64)
  return np.float32(np.inf).view(np.uint32)


def global_threshold(scores: Any, q: int | jax.Array | Count) -> jax.Array:
  r"""The exact q-th greatest value over all leaves of a pytree of non-negative scores.

  .. math:: \max \{t : \#\{i : s_i \ge t\} \ge q\}

  Every leaf may have its own shape, floating-point type and sharding; nothing is
  sorted, concatenated or moved between devices. NaN takes no place in the order:
  the answer is that for the other scores.

  Args:
    scores: a pytree of floating-point arrays, non-negative (-0.0 counts as 0).
    q: from 1 to the number of scores; a Python int, or an int32 scalar that may be
      traced.

  Returns:
    A float32 scalar (float64 if a leaf is float64). Where fewer than q scores are
    numbers, 0: all of them are at least that.

  Raises:
    ValueError: for a tree without scores, for scores that are not floating-point, and
      for a Python int `q` outside its range.

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
  size = sum(leaf.size for leaf in leaves)
  if not size:
    raise ValueError("There are no scores to choose from: the tree is empty.")
  if isinstance(q, int | np.integer):
    q = int(q)
    if not 1 <= q <= size:
      raise ValueError(f"q must be from 1 to {size}, the number of scores, not {q}.")
  dtype = jnp.result_type(jnp.float32, *leaves)
  patterns = [bit_pattern(widen(leaf, dtype)) for leaf in leaves if leaf.size]
  return lax.bitcast_convert_type(threshold_pattern(patterns, Count.of(q)), dtype)


def count_at_least(patterns: Sequence[jax.Array], candidate: jax.Array) -> Count:
  """How many patterns of numbers are at least `candidate`."""
  # One unsigned comparison for both ends: what lies above infinity is no number.
  span = infinity(candidate.dtype) - candidate
  return total([count_true(pattern - candidate <= span) for pattern in patterns])


def threshold_pattern(patterns: Sequence[jax.Array], q: Count) -> jax.Array:
  """The greatest pattern that at least `q` of the patterns reach, else 0."""
  dtype = patterns[0].dtype
  # At least q reach `low` (or it is 0), and fewer reach `high`.
  bounds = (jnp.zeros((), dtype), jnp.asarray(infinity(dtype) + 1, dtype))

  def narrow(bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    low, high = bounds
    middle = low + (high - low) // 2
    reached = count_at_least(patterns, middle) >= q
    return jnp.where(reached, middle, low), jnp.where(reached, high, middle)

  low, _ = lax.while_loop(lambda b: b[1] - b[0] > 1, narrow, bounds)
  return low
