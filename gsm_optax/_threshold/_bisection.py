"""The threshold by bisection: the definition that every other search must match."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from gsm_optax._threshold._patterns import infinity
from gsm_optax._threshold._wide_int import WideInt, count_true, total


# Jitted because without it every eager call would compile the loop anew.
@partial(jax.jit, inline=True)
def bisect(patterns: Sequence[jax.Array], rank: WideInt) -> jax.Array:
  """The greatest pattern that at least `rank` of the `patterns` reach, or 0.

  It takes one pass over the patterns for each of their bits, whatever their values.

  Args:
    patterns: arrays of one type, uint32 or uint64, from `bit_pattern`. Anything above
      the pattern of infinity is NaN and reaches nothing.
    rank: at least 1.
  """
  limit = infinity(patterns[0].dtype)

  def halve(bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    low, high = bounds  # at least `rank` reach `low`, or `low` is 0; fewer reach `high`
    middle = low + (high - low) // 2
    # One unsigned comparison for both ends of the range from `middle` to infinity.
    reached = [count_true(pattern - middle <= limit - middle) for pattern in patterns]
    enough = total(reached) >= rank
    return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

  bounds = (jnp.zeros_like(limit), jnp.asarray(limit + 1))
  low, _ = lax.while_loop(lambda bounds: bounds[1] - bounds[0] > 1, halve, bounds)
  return low
