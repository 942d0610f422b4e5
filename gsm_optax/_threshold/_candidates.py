"""Where to count next: the candidates of a pass.

Tried and measured: see the README beside this file.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gsm_optax._threshold._wide_int import WideInt

INFINITY = np.int32(0x7F800000)
"""The pattern of infinity: what lies above is not a number."""

BINADE = np.int32(1 << 23)
"""Patterns from one power of two to the next."""

NARROW = 5 * BINADE // 4
"""Brackets up to this width are narrow enough to interpolate in."""

EVEN_AFTER = 6
"""Passes after which candidates divide a narrow bracket evenly."""

AROUND_START = np.array([1 / 3.5, 1 / 1.5, 1 / 1.1, 1, 1.1, 1.5, 3.5], np.float32)
"""The first candidates, as multiples of the start."""

SPREAD = np.array([-3, -1.4, -0.7, -0.3, 0.3, 0.7, 1.4, 3], np.float32)
"""Candidates about the predicted threshold, in multiples of the prediction's error.

With one more, a pass has nine: three counts of up to 1023 fit into an int32.
"""

ANYWHERE = np.exp2(np.array([-60, -36, -26, -18, -12, -6, 0], np.float32))
"""The first candidates where there is no start: closer where scores often are."""


class Bracket(NamedTuple):
  """The threshold's pattern is in [low, high).

  At least as many scores as its rank reach `low`, and fewer reach `high`.

  Attributes:
    low: int32, a pattern.
    high: int32, a pattern.
    reached_low: how many scores reach `low`.
    reached_high: how many scores reach `high`.
  """

  low: jax.Array
  high: jax.Array
  reached_low: WideInt
  reached_high: WideInt


def first_candidates(start: jax.Array) -> jax.Array:
  """The least pattern but zero, some around the start, and one that only NaN reach."""
  is_usable = (start > 1e-36) & (start < 1e36)
  around = jnp.where(is_usable, start * AROUND_START, ANYWHERE)
  patterns = lax.bitcast_convert_type(around, jnp.int32)
  ends = jnp.array([1, INFINITY + 1], jnp.int32)
  return jnp.concatenate([ends[:1], patterns, ends[1:]])


def next_candidates(
  bracket: Bracket, rank: WideInt, size: int, evenly: jax.Array
) -> jax.Array:
  """Nine patterns inside the bracket, in ascending order.

  The first follows `low`, and tells whether `low` itself is the threshold.

  Args:
    bracket: where the threshold is.
    rank: its rank among all scores.
    size: the number of all scores.
    evenly: whether to divide a narrow bracket evenly, instead of interpolating.
  """
  low, high = bracket.low, bracket.high
  width = high - low
  number = len(SPREAD)
  even = low + jnp.maximum(width // (number + 1), 1) * np.arange(1, number + 1)
  # 1, 2, 4, ... binades away from the end that is known.
  outward = BINADE << np.arange(number, dtype=np.int32)
  down = high - jnp.minimum(outward[::-1], high)
  up = low + jnp.minimum(outward, INFINITY - low)
  wide = jnp.where(low <= 1, down, jnp.where(high > INFINITY, up, even))
  near = jnp.where(evenly, even, _predicted(bracket, rank, size))
  candidates = jnp.where(width > NARROW, wide, near).astype(jnp.int32)
  candidates = jnp.concatenate([low[None], candidates])
  return jnp.clip(candidates, low + 1, high - 1)


def _predicted(bracket: Bracket, rank: WideInt, size: int) -> jax.Array:
  """Candidates around the place that interpolation predicts."""
  inside = bracket.reached_low.minus(bracket.reached_high).to_float()
  below = bracket.reached_low.minus(rank).to_float() + 0.5
  above = rank.minus(bracket.reached_high).to_float() - 0.5
  bottom, top = _value(bracket.low), _value(bracket.high)
  share = below / inside  # of the scores inside, below the threshold
  place = _on_weibull_line(bracket, rank, size, below, above)
  place = jnp.where(jnp.isfinite(place), place, share)
  variance = share * (1 - share)
  width = (bracket.high - bracket.low).astype(jnp.float32) / BINADE
  # That of a rank among so many, and one of the interpolation, which grows with width.
  error = jnp.sqrt(variance / (inside + 1)) + 0.06 * variance * width
  places = jnp.clip(place + jnp.minimum(error, 0.35) * SPREAD, 0, 1)
  return lax.bitcast_convert_type(bottom + places * (top - bottom), jnp.int32)


def _on_weibull_line(
  bracket: Bracket, rank: WideInt, size: int, below: jax.Array, above: jax.Array
) -> jax.Array:
  """The share of the bracket's width below the threshold, by interpolation.

  With F(v) the share of all scores that reach v, log(-log F) is a linear function of
  log v for every Weibull distribution: so it nearly is for the tails of normal and
  exponential scores, and for a constant density near zero.
  """
  bottom, top = _value(bracket.low), _value(bracket.high)
  position = rank.to_float() - 0.5
  not_reaching = WideInt.of(size).minus(rank).to_float() + 1.5
  log_share = jnp.log1p(-not_reaching / (float(size) + 1))
  # Relative to the threshold, by differences of counts, which are exact.
  to_low = jnp.log1p(jnp.log1p(below / position) / log_share)
  to_high = jnp.log1p(jnp.log1p(-above / position) / log_share)
  width = (top - bottom) / bottom
  return jnp.expm1(jnp.log1p(width) * to_low / (to_low - to_high)) / width


def _value(pattern: jax.Array) -> jax.Array:
  """The float with this pattern; infinity's neighbour below for infinity."""
  finite = jnp.minimum(pattern, INFINITY - 1)
  return lax.bitcast_convert_type(finite, jnp.float32)
