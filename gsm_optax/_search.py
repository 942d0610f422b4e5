"""Where to count next, on the way to the score of a given rank.

A bracket holds the answer. Each pass counts at candidates inside it, and the bracket
becomes the cell between two candidates in which the answer lies. How few passes that
takes depends on where the candidates are; the answer does not. Tried and found:

- Bisection: 31 passes. Candidates placed by interpolation between the counts, as far
  apart as its statistical error: 4 with eight candidates, 3.3 with sixteen, which cost
  as much more.
- Interpolation between two counts alone errs by 5 to 10 standard deviations. A cubic
  through four is good to about one in cells up to a binade wide; the difference of its
  two parabolas tells its error. (In bit patterns the density has a kink at each power
  of two.) It is a cubic of the logarithm of the value over that of minus the logarithm
  of the share that reaches it: a line for every Weibull distribution, so for the tails
  of normal and exponential scores and for a constant density near zero. Over the
  logarithm of the count, normal scores took three passes instead of two.
- In training on MNIST, the logarithm of the threshold changes from step to step by 0.31
  for LeNet-300-100 and by 0.91 for LeNet-5 (standard deviation;
  `experiments.benchmarks.passes`). A first survey within 13 % of the last threshold was
  predicted to be enough, and took some 3 passes; up to a factor of 2.2 from it, 2.1 and
  2.5; up to 3.5, with fewer candidates near it, 2.06 and 2.3.
- A sample of 8,192 scores is within 3 % of their rank at a density of 10 %, and costs a
  tenth of a pass where there are 25 million, but a whole one for LeNet-300-100. There
  it is taken only where the last threshold is of no use (the first step, another
  scale). Scores split over devices are not sampled, since that would move them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gsm_optax._counting import Count
from gsm_optax._patterns import infinity

BINADE = 1 << 23
"""Patterns from one power of two to the next, in float32."""

NARROW = 5 * BINADE // 4
"""Brackets for close passes: wide enough for interpolation, not for anything else."""

ROUGH = 0.2
"""An error of the prediction, as a share of the bracket, that asks for a survey."""

_INFINITY = int(infinity(jnp.uint32))

EVEN_AFTER = 6
"""Passes after which candidates divide the bracket evenly, whatever it holds."""


def _ladder(*steps: float) -> np.ndarray:
  above = 1 + np.array(steps)
  return np.concatenate([1 / above[::-1], above]).astype(np.float32)


AROUND_LAST = _ladder(0.12, 0.8, 2.5)
"""A survey's first candidates, as multiples of the last step's threshold."""

AROUND_SAMPLE = _ladder(0.015, 0.05, 0.2)
"""The same, as multiples of the estimate of a sample."""

_ANYWHERE = np.array([1, *((127 + i) * BINADE for i in (-50, -30, -20, -12, -4))])
"""Without either: powers of two; 1 sees a threshold of zero."""

_OUTWARD = (np.array([1.1, 3.3, 5.5, 9.9, 20, 60]) * BINADE).astype(np.uint32)
"""Distances from the end of the bracket that was counted at, if the other is open.
Divided evenly, a cell of 4.4 binades is narrow enough for a close pass."""

_TOWARD_ZERO = np.array([1 / 64, 1 / 16, 1 / 4, 1 / 2, 1, 4], np.float32)
"""Candidates in a wide bracket that does not reach zero, as multiples of where a
constant density puts the answer; scores are denser toward zero."""

SURVEY = np.array([-3, -1, -0.3, 0.3, 1, 3], np.float32)
"""A survey's candidates about the predicted answer, in standard errors."""

CLOSE = np.array([-2, 2], np.float32)
"""Those of a close pass, which cost more. With one between them, and rows of either
cell, it took as many passes, but each of seven reductions instead of five."""

NEW, MISSED, OPEN, TIED, SETTLED = (np.int32(i) for i in range(5))
"""Outcomes of a close pass, after the first: the answer is not between the candidates;
it is, and which it is remains open; so it does, but there is a guess to look at both
sides of: a score that many have, or the mean of two or three; it is known.
"""


class Target(NamedTuple):
  """What is looked for, among all scores.

  Attributes:
    rank: float32, about the rank of the answer.
    log_share: float32, the logarithm of the share of the scores that reach it.
  """

  rank: jax.Array
  log_share: jax.Array

  @classmethod
  def of(cls, rank: Count, size: int) -> "Target":
    """For the `rank`-th greatest of `size` scores."""
    below = Count.of(size).minus(rank).to_float() + 1
    return cls(rank.to_float(), jnp.log1p(-below / (float(size) + 1)))


class Bracket(NamedTuple):
  """The answer is the `rank`-th greatest of the `inside` scores in [low, low + width).

  Attributes:
    low: uint32, a pattern.
    width: uint32; 1 when `low` is the answer.
    rank: a `Count`.
    inside: a `Count`.
    place: float32, where in the bracket the answer is predicted, from 0 to 1.
    error: float32, of the prediction, besides that of counts.
  """

  low: jax.Array
  width: jax.Array
  rank: Count
  inside: Count
  place: jax.Array
  error: jax.Array

  def is_least(self) -> jax.Array:
    """Whether the answer is the least of the scores inside."""
    return self.rank.equals(self.inside)

  def share_below(self) -> jax.Array:
    """The share of the scores inside that the answer exceeds, about."""
    inside = jnp.maximum(self.inside.to_float(), 1)
    return 1 - jnp.clip((self.rank.to_float() - 0.5) / inside, 0, 1)


def everything(rank: Count, size: int) -> Bracket:
  """The bracket of all numbers, zero and infinity included."""
  return Bracket(
    jnp.uint32(0),
    jnp.uint32(_INFINITY + 1),
    rank,
    Count.of(size),
    jnp.float32(0.5),
    jnp.float32(1),
  )


def is_usable(start: jax.Array) -> jax.Array:
  """Whether the float32 `start` can be near a threshold: not if it is 0 or NaN."""
  patterns = lax.bitcast_convert_type(start * AROUND_LAST, jnp.uint32)
  return (patterns[0] >= BINADE) & (patterns[-1] < _INFINITY)


def candidates_around(
  bracket: Bracket, start: jax.Array, ladder: np.ndarray
) -> jax.Array:
  """Offsets of candidates around the float32 `start`, or anywhere if it is unusable."""
  around = lax.bitcast_convert_type(start * ladder, jnp.uint32)
  patterns = jnp.where(is_usable(start), around, _ANYWHERE.astype(np.uint32))
  return jnp.clip(
    jnp.maximum(patterns, bracket.low) - bracket.low, 1, bracket.width - 1
  )


def survey_candidates(bracket: Bracket, passes: jax.Array) -> jax.Array:
  """Offsets from the bracket's low end, in ascending order, while it is wide."""
  low, width = bracket.low, bracket.width
  up = jnp.asarray(_OUTWARD).at[-1].set(width - 1)
  down = (width - jnp.minimum(_OUTWARD[::-1], width)).at[0].set(1)
  is_open = low + width == _INFINITY + 1
  even = evenly(width, len(SURVEY))
  is_lowest = bracket.share_below() < 0.25
  between = jnp.where(is_lowest, _toward_zero(bracket), even)
  far = jnp.where(low == 0, down, jnp.where(is_open, up, between))
  is_far = (width > NARROW) & (passes < EVEN_AFTER)
  candidates = jnp.where(is_far, far, _predicted(bracket, passes, SURVEY))
  return jnp.clip(candidates, 1, width - 1)


def close_candidates(
  bracket: Bracket,
  passes: jax.Array,
  outcome: jax.Array,
  guess: jax.Array,
  spread: np.ndarray,
) -> jax.Array:
  """The same for a narrow bracket, after a close pass with some outcome, if any."""
  # After one that missed, the prediction is not to be trusted much.
  caution = jnp.where(outcome == MISSED, 3, 1)
  candidates = _predicted(bracket, passes, caution * spread)
  # On both sides of the guess; and, if there are more, around all the others.
  at = jnp.clip(guess - bracket.low, 1, bracket.width - 1)
  half = len(spread) // 2
  tied = [at] * half + [at + 1] * half
  if half > 1:
    tied[0], tied[-1] = jnp.uint32(1), bracket.width - 1
  is_tied = (outcome == TIED) & (passes < EVEN_AFTER)
  return jnp.clip(jnp.where(is_tied, jnp.stack(tied), candidates), 1, bracket.width - 1)


def ends(bracket: Bracket, number: int) -> jax.Array:
  """So many candidates with the whole bracket between the first and the others."""
  last = jnp.maximum(bracket.width - 1, 1)
  return jnp.stack([jnp.uint32(1), *[last] * (number - 1)])


def narrow(
  bracket: Bracket, candidates: jax.Array, counts: Count, target: Target
) -> tuple[Bracket, jax.Array]:
  """The cell in which the answer lies, and its number from below."""
  k = candidates.shape[0]
  edges = jnp.concatenate([jnp.zeros(1, jnp.uint32), candidates, bracket.width[None]])
  zero = Count(jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32))
  above = Count.concatenate([bracket.inside[None], counts, zero])
  cell = jnp.sum(counts >= bracket.rank, dtype=jnp.int32)
  low, high = edges[cell], edges[cell + 1]
  narrowed = Bracket(
    bracket.low + low,
    high - low,
    bracket.rank.minus(above[cell + 1]),
    above[cell].minus(above[cell + 1]),
    jnp.float32(0),
    jnp.float32(0),
  )
  place, error = _interpolated(
    lax.dynamic_slice(bracket.low + edges, (_first_of_four(cell, k),), (4,)),
    lax.dynamic_slice(above.to_float(), (_first_of_four(cell, k),), (4,)),
    bracket.rank.to_float() - 0.5,
    target,
    narrowed,
  )
  # A survey's outermost cells reach into the unknown.
  is_known = jnp.isfinite(place) & jnp.isfinite(error)
  if k > 2:
    is_known &= (cell > 0) & (cell < k)
  wide = (narrowed.width.astype(jnp.float32) / BINADE) ** 3
  return narrowed._replace(
    place=jnp.where(is_known, jnp.clip(place, 0, 1), narrowed.share_below()),
    error=jnp.where(is_known, error, 3 * wide),
  ), cell


def evenly(width: jax.Array, parts: int) -> jax.Array:
  step = jnp.maximum(width // (parts + 1), 1)
  return step * jnp.arange(1, parts + 1, dtype=jnp.uint32)


def _value(pattern: jax.Array) -> jax.Array:
  """The float with this pattern; infinity's neighbour below for infinity."""
  finite = jnp.minimum(pattern, np.uint32(_INFINITY - 1))
  return lax.bitcast_convert_type(finite, jnp.float32)


def _toward_zero(bracket: Bracket) -> jax.Array:
  """Offsets of multiples of where a constant density puts the answer."""
  low, width = bracket.low, bracket.width
  bottom, top = _value(low), _value(low + width)
  shares = jnp.minimum(bracket.share_below() * _TOWARD_ZERO, 1)
  values = bottom + (top - bottom) * shares
  return jnp.maximum(lax.bitcast_convert_type(values, jnp.uint32), low) - low


def _predicted(bracket: Bracket, passes: jax.Array, spread: Any) -> jax.Array:
  """Candidates about where the answer is predicted in a bracket."""
  low, width = bracket.low, bracket.width
  below = bracket.share_below()
  # The error of a rank among so many, and that of the interpolation.
  error = jnp.sqrt(below * (1 - below) / (bracket.inside.to_float() + 1))
  error += bracket.error
  shares = jnp.clip(bracket.place + jnp.minimum(error, 0.35) * spread, 0, 1)
  bottom, top = _value(low), _value(low + width)
  at = lax.bitcast_convert_type(bottom + shares * (top - bottom), jnp.uint32)
  is_even = (passes >= EVEN_AFTER) | (width <= len(spread) + 1)
  return jnp.where(is_even, evenly(width, len(spread)), jnp.maximum(at, low) - low)


def _first_of_four(cell: jax.Array, k: int) -> jax.Array:
  """The first of four edges next to each other, with the cell in their middle.

  Candidates, but for two: then the ends of the bracket are the others.
  """
  return jnp.clip(cell - 1, 1, k - 3) if k > 2 else jnp.zeros_like(cell)


def _interpolated(
  patterns: jax.Array,
  reach: jax.Array,
  rank: jax.Array,
  target: Target,
  cell: Bracket,
) -> tuple[jax.Array, jax.Array]:
  """Where in a cell the score of a rank lies, by a cubic.

  That is one of ``log(value)`` over ``log(-log(share that reaches the value))``.

  Args:
    patterns: uint32 (4,), candidates; not a number comes back where two are the same.
    reach: float32 (4,), how many scores of the bracket reach them.
    rank: float32, that of the answer in the bracket.
    target: the answer among all scores.
    cell: between two of the candidates.

  Returns:
    The share of the cell's width that lies below, and its error, about.
  """
  bottom, top = _value(cell.low), _value(cell.low + cell.width)
  x = jnp.log(_value(patterns) / bottom)
  # Less what it is for the answer, by differences of counts: those are exact.
  ratio = jnp.maximum((reach - rank) / target.rank, 0.5 / target.rank - 1)
  y = jnp.log1p(jnp.log1p(ratio) / target.log_share)
  # Neville's scheme: lines through neighbours, then parabolas, then the cubic.
  orders = [x]
  for order in (1, 2, 3):
    lower, (left, right) = orders[-1], (y[:-order], y[order:])
    mixed = left * lower[1:] - right * lower[:-1]
    orders.append(mixed / (left - right))
  parabolas, cubic = orders[2], orders[3][0]
  width = (top - bottom) / bottom
  error = 0.3 * jnp.abs(parabolas[0] - parabolas[1]) + 1e-6
  return jnp.expm1(cubic) / width, error / width
