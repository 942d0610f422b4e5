"""Exactly Q elements of greatest magnitude, with ties broken by position."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gsm_optax._threshold._bisection import bisect
from gsm_optax._threshold._patterns import infinity, magnitude_pattern, real_dtype
from gsm_optax._threshold._quota import quota
from gsm_optax._threshold._ties import first_true
from gsm_optax._threshold._wide_int import count_true, total


def largest(arrays: Sequence[Any], density: Any) -> list[jax.Array]:
  """Marks the ``floor(density * n)`` elements of greatest magnitude in all arrays.

  Among equal magnitudes the first are marked, by array and then in row-major order. NaN
  counts as infinite.

  Args:
    arrays: floating-point or complex.
    density: the share of the elements to choose, as `quota` takes it.

  Returns:
    A mask for each array.
  """
  dtype = real_dtype(arrays)
  patterns = [
    # Anything above infinity's pattern is a NaN.
    jnp.minimum(pattern, infinity(pattern.dtype))
    for pattern in (magnitude_pattern(array, dtype) for array in arrays)
  ]
  rank = quota(density, sum(array.size for array in arrays))
  threshold = bisect(patterns, rank)
  above = [pattern > threshold for pattern in patterns]
  ties = [pattern == threshold for pattern in patterns]
  places = rank.minus(total([count_true(mask) for mask in above]))
  return [
    greater | tied
    for greater, tied in zip(above, first_true(ties, places), strict=True)
  ]


def count_nonzero(array: jax.Array) -> int:
  """The number of non-zero elements of a concrete array, subnormals included."""
  return int(_count_at_least(array, 1))


@jax.jit
def _count_at_least(array: jax.Array, pattern: jax.Array | int) -> Any:
  # The pattern is an argument because the compiler turns a comparison with a constant
  # into one of floats, which may flush subnormals.
  at_least = magnitude_pattern(array, real_dtype([array])) >= pattern
  return total([count_true(at_least)])
