"""The threshold by bisection: the definition that every other way must equal."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from gsm_optax._threshold._patterns import infinity
from gsm_optax._threshold._wide_int import WideInt, count_true, total


# Jitted for the sake of those who call without jit: each time it would compile anew.
@partial(jax.jit, inline=True)
def bisect(patterns: Sequence[jax.Array], rank: WideInt) -> jax.Array:
  """The greatest pattern that at least `rank` of the `patterns` reach, or 0.

  One pass over the patterns for each of their bits, whatever they are.

  Args:
    patterns: uint32 or uint64 arrays of one type, as `bit_pattern` makes them. What
      lies above infinity's pattern is not a number, and reaches nothing.
    rank: at least 1.
  """
  limit = infinity(patterns[0].dtype)

  def halve(bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    low, high = bounds  # at least `rank` reach `low`, or it is 0; fewer reach `high`
    middle = low + (high - low) // 2
    # One unsigned comparison for both ends of the range from `middle` to infinity.
    reached = [count_true(pattern - middle <= limit - middle) for pattern in patterns]
    enough = total(reached) >= rank
    return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

  bounds = (jnp.zeros_like(limit), jnp.asarray(limit + 1))
  low, _ = lax.while_loop(lambda bounds: bounds[1] - bounds[0] > 1, halve, bounds)
  return low
