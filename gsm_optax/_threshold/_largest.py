"""Exactly Q elements of greatest magnitude, with ties broken by position."""

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gsm_optax._branches import either
from gsm_optax._threshold._bisection import bisect
from gsm_optax._threshold._patterns import infinity, magnitude_pattern, real_dtype
from gsm_optax._threshold._quota import quota
from gsm_optax._threshold._ties import first_true
from gsm_optax._threshold._wide_int import WideInt, count_true, total


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


def largest_nonzero(arrays: Sequence[Any], density: Any) -> list[jax.Array]:
  """Marks the elements that are not zero; the `largest`, if these are too many.

  At a density of 1 all are marked. This costs a count alone, as long as no more than
  ``floor(density * n)`` elements are not zero.

  Args:
    arrays: as for `largest`.
    density: as for `largest`.

  Returns:
    A mask for each array.
  """
  size = sum(array.size for array in arrays)
  rank = quota(density, size)
  nonzero = [is_nonzero(array) for array in arrays]
  takes_all = rank >= WideInt.of(size)
  return either(
    rank >= total([count_true(mask) for mask in nonzero]),
    lambda: [mask | takes_all for mask in nonzero],
    lambda: largest(arrays, density),
  )


class Cut(NamedTuple):
  """What masks cut off.

  Attributes:
    kept: the least magnitude that is kept.
    zeroed: the greatest that is not, or 0.
    share: of the squared norm, what is cut off.
  """

  kept: float
  zeroed: float
  share: float


def cut_off(arrays: Sequence[Any], masks: Sequence[jax.Array]) -> Cut:
  """What masks cut off concrete arrays."""
  return Cut(*map(float, _cut_off(list(arrays), list(masks))))


@jax.jit
def _cut_off(arrays: list[Any], masks: list[Any]) -> tuple[Any, ...]:
  kept, zeroed, cut, total = jnp.inf, 0.0, 0.0, 0.0
  sizes = [jnp.abs(array).astype(jnp.float32) for array in arrays]
  sizes = [jnp.where(jnp.isnan(size), 0, size) for size in sizes]
  # Squares of very large or small numbers would leave the range of float32.
  finite = [jnp.where(jnp.isinf(size), 0, size) for size in sizes]
  most = reduce(jnp.maximum, [jnp.max(size, initial=0) for size in finite], 0.0)
  scale = jnp.where(most > 0, most, 1)
  for size, mask in zip(sizes, masks, strict=True):
    kept = jnp.minimum(kept, jnp.min(size, where=mask, initial=jnp.inf))
    zeroed = jnp.maximum(zeroed, jnp.max(size, where=~mask, initial=0))
    cut += jnp.sum((size / scale) ** 2, where=~mask)
    total += jnp.sum((size / scale) ** 2)
  return kept, zeroed, cut / total


def is_nonzero(array: Any) -> jax.Array:
  """Which elements are not zero, subnormals included if it is not jitted."""
  return _at_least(array, 1)


def count_nonzero(array: jax.Array) -> int:
  """The number of non-zero elements of a concrete array, subnormals included."""
  return int(_count_at_least(array, 1))


@jax.jit
def _count_at_least(array: jax.Array, pattern: jax.Array | int) -> Any:
  return total([count_true(_at_least(array, pattern))])


# The pattern is an argument because the compiler turns a comparison with a constant
# into one of floats, which may flush subnormals.
@partial(jax.jit, inline=True)
def _at_least(array: jax.Array, pattern: jax.Array | int) -> jax.Array:
  return magnitude_pattern(array, real_dtype([array])) >= pattern
