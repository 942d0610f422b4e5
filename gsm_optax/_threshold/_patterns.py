"""Bit patterns of floats: unsigned integers in the same order as the floats.

Comparing patterns is exact even on backends that flush subnormal floats to zero, where
comparing floats is not. (Compare with values that the compiler does not know: it turns
a comparison with a constant pattern back into a comparison of floats.)
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def bit_pattern(scores: jax.Array) -> jax.Array:
  """Patterns in the order of the non-negative `scores`: uint32 (uint64 for float64).

  NaN, and anything with the sign bit set, lies above the pattern of infinity.
  """
  if scores.dtype == jnp.float64:
    return lax.bitcast_convert_type(scores, jnp.uint64)
  return lax.bitcast_convert_type(scores.astype(jnp.float32), jnp.uint32)


def widen(scores: jax.Array, dtype: Any) -> jax.Array:
  """Converts non-negative `scores` to a type that holds them, subnormals included."""
  wide = scores.astype(dtype)
  if dtype != jnp.float64 or scores.dtype == jnp.float64:
    return wide
  # Some backends flush subnormals when converting from float32.
  bits = bit_pattern(scores)
  least = np.finfo(np.float32).smallest_subnormal
  return jnp.where(bits < 1 << 23, bits.astype(dtype) * float(least), wide)


def magnitude_pattern(weights: jax.Array, dtype: Any) -> jax.Array:
  """`bit_pattern` of the magnitudes, computed in `dtype`: 0 only for zeros."""
  if weights.dtype.itemsize == 1:  # there is little that can be computed in eight bits
    weights = weights.astype(jnp.float32)
  return bit_pattern(widen(jnp.abs(weights), dtype))


def real_dtype(arrays: Sequence[Any]) -> Any:
  """The type that holds the magnitudes of all `arrays` exactly: float32 or float64."""
  wide = [a.dtype for a in arrays if a.dtype.itemsize > 1]
  return jnp.result_type(jnp.float32, *(jnp.finfo(dtype).dtype for dtype in wide))


def infinity(dtype: Any) -> np.unsignedinteger[Any]:
  """The pattern of infinity, above which a non-negative score can only be NaN."""
  if dtype == jnp.uint64:
    return np.float64(np.inf).view(np.uint64)
  return np.float32(np.inf).view(np.uint32)
