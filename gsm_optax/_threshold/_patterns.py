"""Bit patterns of floats: unsigned integers that order as the floats do.

Comparing patterns is exact where comparing floats is not: on some backends subnormal
floats are flushed to zero. (Compare with values that the compiler does not know: it
turns a comparison with a constant pattern back into one of floats.)
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


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
