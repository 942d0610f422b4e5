"""Where to count next, on the way to the score of a given rank.

A bracket holds the answer. Each pass counts at candidates inside it, and the bracket
becomes the cell between two candidates in which the answer lies. How few passes that
takes depends on where the candidates are; the answer does not. Tried and found:

- Bisection: 31 passes. Candidates placed by interpolation between the counts, as far
  apart as its statistical error: 4 with eight candidates, 3.3 with sixteen, which cost
  as much more.
- Interpolation needs the slope of the density (without it, it errs by 5 to 10 standard
  deviations), which the neighbouring cells give, but not the outermost ones. It must be
  between the values, not between the bit patterns, whose density has a kink at each
  power of two.
- The last step's threshold is a good start: it is within some 10 % of this one. Where
  it is not (the first step, another scale), candidates at powers of two need 5 passes;
  a sample of 8,192 scores costs a fraction of a pass and saves two. Scores split over
  devices are not sampled, since that would move them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gsm_optax._counting import Count
from gsm_optax._passes import sum_together
from gsm_optax._patterns import infinity

BINADE = 1 << 23
"""Patterns from one power of two to the next, in float32."""

_INFINITY = int(infinity(jnp.uint32))

_EVEN_AFTER = 6
"""Passes after which candidates divide the bracket evenly, whatever it holds."""


class Survey(NamedTuple):
  """Where a survey counts.

  Attributes:
    around: the first candidates, as multiples of the last threshold.
    anywhere: the first ones without it: powers of two; 1 sees a threshold of zero.
    outward: distances from the end of the bracket that was counted at, if the other is
      open. Divided evenly, a cell of 2.2 binades is narrow enough for a close pass.
    toward_zero: candidates in a wide bracket that does not reach zero, as multiples of
      where a constant density puts the answer; scores are denser toward zero.
    spread: candidates about the predicted answer, in standard errors.
  """

  around: np.ndarray
  anywhere: np.ndarray
  outward: np.ndarray
  toward_zero: np.ndarray
  spread: np.ndarray


def _survey(
  steps: list[float],
  powers: list[int],
  binades: list[float],
  toward_zero: list[float],
  spread: list[float],
) -> Survey:
  above = 1 + np.array(steps)
  return Survey(
    np.concatenate([1 / above[::-1], above]).astype(np.float32),
    np.array([1, *((127 + power) * BINADE for power in powers)], np.uint32),
    (np.array(binades) * BINADE).astype(np.uint32),
    np.array(toward_zero, np.float32),
    np.array(spread, np.float32),
  )


_EIGHT = _survey(
  [0.015, 0.045, 0.08, 0.13],
  [-50, -38, -30, -24, -18, -12, -4],
  [1.1, 3.3, 5.5, 7.7, 9.9, 14, 30, 60],
  [1 / 64, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 8],
  [-3, -1.2, -0.6, -0.2, 0.2, 0.6, 1.2, 3],
)
_FOUR = _survey(
  [0.03, 0.12],
  [-30, -18, -4],
  [1.1, 5, 15, 60],
  [1 / 12, 1 / 4, 1, 4],
  [-3, -0.6, 0.6, 3],
)


def survey_for(size: int) -> Survey:
  """Few candidates for a model that fits in the cache, many for one that does not.

  There each candidate costs as much as the first. A larger model has more scores in the
  same bracket, and without a narrow one a close pass would not find them alone in their
  rows: LeNet-300-100 takes 2.0 passes with either, of which those with four candidates
  are quicker by a fifth; ResNet-50 takes 2.1 with eight and 2.9 with four.
  """
  return _FOUR if size < 1 << 21 else _EIGHT


CLOSE = np.array([-3, -1.2, -0.4, 0.4, 1.2, 3], np.float32)
"""Candidates about the predicted answer, in standard errors, when sums by rows are
taken too, each of which costs as much as a count."""


class Bracket(NamedTuple):
  """The answer is the `rank`-th greatest of the `inside` scores in [low, low + width).

  Attributes:
    low: uint32, a pattern.
    width: uint32; 1 when `low` is the answer.
    rank: a `Count`.
    inside: a `Count`.
    slope: float32, how much denser the scores are at the upper end, relative to the
      middle: a guess for interpolation.
  """

  low: jax.Array
  width: jax.Array
  rank: Count
  inside: Count
  slope: jax.Array

  def share_below(self) -> jax.Array:
    """The share of the scores inside that the answer exceeds, about."""
    inside = jnp.maximum(self.inside.to_float(), 1)
    return 1 - jnp.clip((self.rank.to_float() - 0.5) / inside, 0, 1)


def everything(rank: Count, size: int) -> Bracket:
  """The bracket of all numbers, zero and infinity included."""
  return Bracket(
    jnp.uint32(0), jnp.uint32(_INFINITY + 1), rank, Count.of(size), jnp.float32(0)
  )


def is_usable(start: jax.Array, survey: Survey) -> jax.Array:
  """Whether the float32 `start` can be near a threshold: not if it is 0 or NaN."""
  around = lax.bitcast_convert_type(start * survey.around, jnp.uint32)
  return (around[0] >= BINADE) & (around[-1] < _INFINITY)


def candidates_around(bracket: Bracket, start: jax.Array, survey: Survey) -> jax.Array:
  """Offsets of candidates around the float32 `start`, or anywhere if it is unusable."""
  around = lax.bitcast_convert_type(start * survey.around, jnp.uint32)
  patterns = jnp.where(is_usable(start, survey), around, survey.anywhere)
  return jnp.clip(
    jnp.maximum(patterns, bracket.low) - bracket.low, 1, bracket.width - 1
  )


def survey_candidates(bracket: Bracket, passes: jax.Array, survey: Survey) -> jax.Array:
  """Offsets from the bracket's low end, in ascending order, while it is wide."""
  low, width = bracket.low, bracket.width
  up = jnp.asarray(survey.outward).at[-1].set(width - 1)
  down = (width - jnp.minimum(survey.outward[::-1], width)).at[0].set(1)
  is_open = low + width == _INFINITY + 1
  evenly = _evenly(width, len(survey.spread))
  is_lowest = bracket.share_below() < 0.25
  between = jnp.where(is_lowest, _toward_zero(bracket, survey.toward_zero), evenly)
  far = jnp.where(low == 0, down, jnp.where(is_open, up, between))
  is_far = (width > BINADE) & (passes < _EVEN_AFTER)
  candidates = jnp.where(is_far, far, _predicted(bracket, passes, survey.spread))
  return jnp.clip(candidates, 1, width - 1)


def close_candidates(
  bracket: Bracket, passes: jax.Array, guess: jax.Array, few: Count
) -> jax.Array:
  """The same for a narrow bracket. A `guess` inside it is settled, right or wrong."""
  at, half = guess - bracket.low, len(CLOSE) // 2
  # After a first close pass that missed, the prediction is not to be trusted much.
  caution = jnp.where(at < bracket.width, 4, 1)
  candidates = _predicted(bracket, passes, caution * CLOSE)
  # Few scores are found wherever in the bracket they are.
  is_few = ~(bracket.inside >= few) & (passes < _EVEN_AFTER)
  ends = candidates.at[0].set(1).at[-1].set(bracket.width - 1)
  candidates = jnp.clip(jnp.where(is_few, ends, candidates), 1, bracket.width - 1)
  around = jnp.concatenate(
    [
      jnp.minimum(candidates[: half - 1], at),
      jnp.stack([at, at + 1]),
      jnp.maximum(candidates[half + 1 :], at + 1),
    ]
  )
  is_guess = (at < bracket.width) & (at > 0) & (passes < _EVEN_AFTER)
  return jnp.where(is_guess, jnp.clip(around, 1, bracket.width - 1), candidates)


def narrow(
  bracket: Bracket, candidates: jax.Array, counts: Count
) -> tuple[Bracket, jax.Array]:
  """The cell in which the answer lies, and its number from below."""
  k = candidates.shape[0]
  edges = jnp.concatenate([jnp.zeros(1, jnp.uint32), candidates, bracket.width[None]])
  zero = Count(jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32))
  above = Count.concatenate([bracket.inside[None], counts, zero])
  cell = jnp.sum(counts >= bracket.rank, dtype=jnp.int32)
  low, high = edges[cell], edges[cell + 1]
  return Bracket(
    bracket.low + low,
    high - low,
    bracket.rank.minus(above[cell + 1]),
    above[cell].minus(above[cell + 1]),
    _slope(bracket.low, edges, above, cell, k),
  ), cell


def rank_th(
  values: jax.Array, rank: Count, low: jax.Array, width: jax.Array
) -> jax.Array:
  """The rank-th greatest of few uint32 `values`, if it lies in [low, low + width)."""
  parts = 16

  def step(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    low, width = state
    candidates = low + jnp.minimum(_evenly(width, parts), width - 1)
    reached = [(values >= candidates[i]).astype(jnp.uint32) for i in range(parts)]
    counts = jnp.stack(sum_together(reached, (0,)))
    edges = jnp.concatenate([low[None], candidates, (low + width)[None]])
    cell = jnp.sum(Count.of(counts) >= rank, dtype=jnp.int32)
    return edges[cell], edges[cell + 1] - edges[cell]

  return lax.while_loop(lambda state: state[1] > 1, step, (low, width))[0]


def among(rank: Count, inside: Count, known: Count) -> Count:
  """About the rank that the answer has among those that are known of those inside."""
  share = known.to_float() / jnp.maximum(inside.to_float(), 1)
  scaled = Count.of(
    jnp.maximum(jnp.round(rank.to_float() * share), 1).astype(jnp.int32)
  )
  all_known = known.equals(inside)
  return Count(
    jnp.where(all_known, rank.high, scaled.high),
    jnp.where(all_known, rank.low, scaled.low),
  )


def _evenly(width: jax.Array, parts: int) -> jax.Array:
  step = jnp.maximum(width // (parts + 1), 1)
  return step * jnp.arange(1, parts + 1, dtype=jnp.uint32)


def _value(pattern: jax.Array) -> jax.Array:
  """The float with this pattern; infinity's neighbour below for infinity."""
  finite = jnp.minimum(pattern, np.uint32(_INFINITY - 1))
  return lax.bitcast_convert_type(finite, jnp.float32)


def _toward_zero(bracket: Bracket, multiples: Any) -> jax.Array:
  """Offsets of `multiples` of where a constant density puts the answer."""
  low, width = bracket.low, bracket.width
  bottom, top = _value(low), _value(low + width)
  values = bottom + (top - bottom) * jnp.minimum(bracket.share_below() * multiples, 1)
  return jnp.maximum(lax.bitcast_convert_type(values, jnp.uint32), low) - low


def _predicted(bracket: Bracket, passes: jax.Array, spread: Any) -> jax.Array:
  """Candidates about where a density linear in the bracket puts the answer."""
  low, width, slope = bracket.low, bracket.width, bracket.slope
  inside, below = jnp.maximum(bracket.inside.to_float(), 1), bracket.share_below()
  place = 2 * below / (1 - slope + jnp.sqrt((1 - slope) ** 2 + 4 * slope * below))
  # The error of a rank among so many, and of a density that is not linear.
  error = jnp.sqrt(below * (1 - below) / (inside + 1))
  error += 3 * (width.astype(jnp.float32) / BINADE) ** 3
  shares = jnp.clip(place + jnp.minimum(error, 0.35) * spread, 0, 1)
  bottom, top = _value(low), _value(low + width)
  at = lax.bitcast_convert_type(bottom + shares * (top - bottom), jnp.uint32)
  is_even = (passes >= _EVEN_AFTER) | (width <= len(spread) + 1)
  return jnp.where(is_even, _evenly(width, len(spread)), jnp.maximum(at, low) - low)


def _slope(
  low: jax.Array, edges: jax.Array, above: Count, cell: jax.Array, k: int
) -> jax.Array:
  """The relative slope of the density in a cell, from its neighbours'."""
  middle = jnp.clip(cell, 1, k - 1)
  values = _value(low + lax.dynamic_slice(edges, (middle - 1,), (4,)))
  reach = lax.dynamic_slice(above.to_float(), (middle - 1,), (4,))
  widths = (values[1:] - values[:-1]) / (values[2] - values[1])
  inside = reach[:-1] - reach[1:]
  densities = inside / widths / inside[1]
  # The outermost cells reach into the unknown and say nothing.
  has_left, has_right = middle > 1, middle < k - 1
  rise = jnp.where(has_left, densities[1] - densities[0], 0)
  rise += jnp.where(has_right, densities[2] - densities[1], 0)
  run = jnp.where(has_left, widths[0] + 1, 0) + jnp.where(has_right, 1 + widths[2], 0)
  slope = rise / run
  known = (cell == middle) & (inside[1] >= 200) & jnp.isfinite(slope)
  return jnp.where(known, jnp.clip(slope, -0.8, 0.8), 0)
