"""Sums over units that are the same in whatever order they are computed."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gsm_optax._threshold import signed_pattern

INFINITE = np.int32(0x7F800000)
"""The bits of infinity; those of a NaN are greater, but for its sign."""

LEAST_EXPONENT = 40
"""Of a unit's greatest score, as float32 has it in its bits: scores below 2**-87 count
as less than they are. It keeps scales within the range of float32."""


class Part(NamedTuple):
  """Some of the scores of each unit.

  Attributes:
    scores: float32, not negative.
    pool: ``(array like the scores, jnp.sum or jnp.max) -> array of the units``.
    spread: the reverse: an array of the units to one that broadcasts to the scores.
    number: how many scores a unit has here, at most.
  """

  scores: jax.Array
  pool: Callable[[jax.Array, Callable[..., Any]], jax.Array]
  spread: Callable[[jax.Array], jax.Array]
  number: int


def sums(parts: Sequence[Part]) -> jax.Array:
  """The sum of each unit's scores, float32, whatever the order of the additions.

  Floating-point sums depend on it, and so on how arrays are split over devices, on the
  compiler and, with scattered additions, on chance; two units of nearly equal score
  would change places. So scores are taken as integers on a scale that the unit's
  greatest sets, in two digits, of which sums are exact. What is rounded off is below
  2**-(2 b) of the greatest score, for b = 31 - log2(scores of a unit) bits in a digit.

  A unit with an infinite score has an infinite sum, and with a NaN it is NaN.
  """
  patterns = [signed_pattern(part.scores) & np.int32(0x7FFFFFFF) for part in parts]
  greatest = reduce(
    jnp.maximum,
    [
      part.pool(pattern, jnp.max) for part, pattern in zip(parts, patterns, strict=True)
    ],
  )
  number = max(2, sum(part.number for part in parts))
  bits = max(2, 31 - (number - 1).bit_length())
  # The greatest score is below 2**(exponent - 126), and scaled below 2**bits.
  exponent = jnp.clip(greatest >> 23, LEAST_EXPONENT, 254)
  scale = _power_of_two(bits + 126 - exponent)
  digits: list[jax.Array] = []
  for part, pattern in zip(parts, patterns, strict=True):
    finite = jnp.where(pattern < INFINITE, pattern, 0)
    scaled = lax.bitcast_convert_type(finite, jnp.float32) * part.spread(scale)
    high = jnp.floor(scaled)
    low = jnp.floor((scaled - high) * np.float32(2**bits))
    digits.append(
      jnp.stack([part.pool(x.astype(jnp.int32), jnp.sum) for x in (high, low)])
    )
  high, low = reduce(jnp.add, digits).astype(jnp.float32)
  # Products with powers of two are exact, so a fused multiply-add changes nothing.
  total = (high + low * np.float32(2.0**-bits)) * _power_of_two(exponent - 126 - bits)
  unranked = lax.bitcast_convert_type(greatest, jnp.float32)
  return jnp.where(greatest >= INFINITE, unranked, total)


def _power_of_two(exponent: jax.Array) -> jax.Array:
  return lax.bitcast_convert_type((exponent + 127) << 23, jnp.float32)
