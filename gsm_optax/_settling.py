"""Which score it is, from what a close pass tells of short rows."""

import jax
import jax.numpy as jnp
from jax import lax

from gsm_optax._counting import Count
from gsm_optax._passes import Rows, reduce_together
from gsm_optax._search import MISSED, OPEN, SETTLED, TIED, Bracket, evenly


def settle(
  cell: Bracket, low: jax.Array, rows: Rows, is_between: jax.Array, split: bool
) -> tuple[jax.Array, jax.Array]:
  """The answer, or a guess at it.

  Args:
    cell: the bracket that the pass came to.
    low: uint32, the low end of the bracket before, from which rows are measured.
    rows: what of each row lies in the cell.
    is_between: whether the cell has a candidate at either end. If not, rows are of
      another cell.
    split: whether scores are split over devices, so that rows tell few.

  Returns:
    A pattern, and the outcome of the pass.
  """
  number, least, greatest, sums = rows
  # Of three in a row, the sum tells the one in the middle. Of more, those in between
  # are taken to be as low as they can be, and then as high.
  middle = sums - least - greatest
  values = jnp.concatenate([greatest, least, middle]).astype(jnp.uint32)
  one, two = (number > 0).astype(jnp.int32), (number > 1).astype(jnp.int32)
  three = (number == 3).astype(jnp.int32)
  others = jnp.maximum(number - 1, 0) - three
  if_low = jnp.concatenate([one, others, three])
  if_high = jnp.concatenate([jnp.maximum(others, one), two, three])
  known = Count.of(number_of(values, if_low, [jnp.uint32(0)])[0])
  unknown = cell.inside.minus(known)
  guess = rank_th(
    values,
    if_low,
    _among(cell.rank, cell.inside, known),
    cell.low - low,
    cell.width,
  )

  reach, exceed = number_of(values, if_low, [guess, guess + 1])
  (exceed_if_high,) = number_of(values, if_high, [guess + 1])
  is_settled = Count.of(reach) >= cell.rank
  is_settled &= ~(unknown.plus(Count.of(exceed_if_high)) >= cell.rank)
  same = (reach - exceed).astype(jnp.float32)
  is_tied = (same > 8) & (same > cell.inside.to_float() / 8)
  outcome = jnp.where(is_settled, SETTLED, jnp.where(is_tied, TIED, OPEN))
  if split:
    # What is left of one leaf: unless they are equal, their mean lies between them.
    total = jnp.sum(sums, dtype=jnp.int32).astype(jnp.uint32)
    is_two_or_three = (cell.inside.high == 0) & (cell.inside.low <= 3)
    mean = total // jnp.maximum(cell.inside.low, 1).astype(jnp.uint32)
    guess = jnp.where(is_settled | ~is_two_or_three, guess, mean)
    outcome = jnp.where(~is_settled & is_two_or_three, TIED, outcome)
  is_between &= cell.inside.high < 1 << 15  # no sum overflows
  return low + guess, jnp.where(is_between, outcome, MISSED)


def number_of(
  values: jax.Array, weights: jax.Array, candidates: list[jax.Array]
) -> list[jax.Array]:
  """How many of few uint32 `values`, each with an int32 weight, reach a candidate."""
  reached = [jnp.where(values >= candidate, weights, 0) for candidate in candidates]
  # Two operands at least, which is what makes the sum quick.
  return reduce_together([*reached, weights], (0,))[:-1]


def rank_th(
  values: jax.Array, weights: jax.Array, rank: Count, low: jax.Array, width: jax.Array
) -> jax.Array:
  """The rank-th greatest of such `values`, if it lies in [low, low + width)."""
  parts = 8
  number = (rank.high << 16) + rank.low

  def step(
    state: tuple[jax.Array, jax.Array, jax.Array],
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    low, width, above = state
    candidates = low + jnp.minimum(evenly(width, parts), width - 1)
    counts = jnp.stack(number_of(values, weights, list(candidates)))
    edges = jnp.concatenate([low[None], candidates, (low + width)[None]])
    cell = jnp.sum(counts >= number, dtype=jnp.int32)
    above = jnp.concatenate([counts, above[None]])[cell]
    return edges[cell], edges[cell + 1] - edges[cell], above

  # Until it is the greatest of those in the cell.
  low, width, _ = lax.while_loop(
    lambda state: (state[1] > 1) & (state[2] + 1 < number),
    step,
    (low, width, jnp.int32(0)),
  )
  below = (values < low + width) & (weights > 0)
  return jnp.where(width > 1, jnp.max(jnp.where(below, values, 0)), low)


def _among(rank: Count, inside: Count, known: Count) -> Count:
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
