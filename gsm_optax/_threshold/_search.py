"""The search: passes over the scores narrow a bracket until the threshold is known."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from gsm_optax._threshold._candidates import (
  EVEN_AFTER,
  Bracket,
  first_candidates,
  next_candidates,
)
from gsm_optax._threshold._passes import GREATEST, take_pass
from gsm_optax._threshold._scores import Leaf, Scores
from gsm_optax._threshold._wide_int import WideInt

UNKNOWN = np.int32(-1)


class State(NamedTuple):
  """What is known between two passes.

  Attributes:
    bracket: where the threshold is.
    rank: of the threshold among all scores; after the first pass, NaN count as greater
      than all numbers.
    candidates: int32 (k,), patterns at which the next pass counts.
    passes: int32, how many there were.
    answer: int32, the threshold's pattern, or `UNKNOWN`.
  """

  bracket: Bracket
  rank: WideInt
  candidates: jax.Array
  passes: jax.Array
  answer: jax.Array


def init(size: int, rank: WideInt, start: jax.Array) -> State:
  """Before the first of the passes over `size` scores."""
  return State(
    Bracket(jnp.int32(0), jnp.asarray(GREATEST), WideInt.of(size), WideInt.of(0)),
    rank,
    first_candidates(start),
    jnp.int32(0),
    jnp.asarray(UNKNOWN),
  )


def step(scores: Scores, state: State) -> State:
  """One pass, and what follows from it."""
  pinned = _is_pinned(state.bracket, state.rank)
  reached, least = take_pass(scores, state.candidates, state.bracket.low, pinned)
  is_first = state.passes == 0
  # The last of the first candidates is one that only NaN reach.
  rank = WideInt.where(is_first, state.rank.plus(reached[-1]), state.rank)
  bracket = narrowed(state.bracket, rank, state.candidates, reached, least)
  passes = state.passes + 1
  evenly = ~is_first & _most_are_left(bracket, state.bracket) | (passes >= EVEN_AFTER)
  is_score = bracket.low == least
  is_known = (bracket.high - bracket.low == 1) | (is_score & _is_pinned(bracket, rank))
  return State(
    bracket,
    rank,
    next_candidates(bracket, rank, scores.size, evenly),
    passes,
    jnp.where(pinned, least, jnp.where(is_known, bracket.low, UNKNOWN)),
  )


def is_done(state: State) -> jax.Array:
  """Whether the threshold is known."""
  return state.answer != UNKNOWN


def narrowed(
  bracket: Bracket,
  rank: WideInt,
  candidates: jax.Array,
  reached: WideInt,
  least: jax.Array,
) -> Bracket:
  """The part of the bracket between the two candidates around the threshold.

  It begins at a score where that is known: the `least` in the bracket before.
  """
  edges = jnp.concatenate([bracket.low[None], candidates, bracket.high[None]])
  counts = WideInt.concatenate(
    [bracket.reached_low[None], reached, bracket.reached_high[None]]
  )
  cell = jnp.sum(reached >= rank, dtype=jnp.int32)
  low, high = edges[cell], edges[cell + 1]
  low = jnp.where((least >= low) & (least < high), least, low)
  return Bracket(low, high, counts[cell], counts[cell + 1])


def _is_pinned(bracket: Bracket, rank: WideInt) -> jax.Array:
  """Whether exactly `rank` scores reach the bracket's lower end.

  Then the threshold is the least of those.
  """
  return bracket.reached_low.equals(rank) & (bracket.low > 0)


def _most_are_left(bracket: Bracket, before: Bracket) -> jax.Array:
  inside, inside_before = (
    each.reached_low.minus(each.reached_high).to_float() for each in (bracket, before)
  )
  return 2 * inside > inside_before


# Jitted for the sake of those who call without jit: each time it would compile anew.
@partial(jax.jit, static_argnums=1, inline=True)
def search(
  leaves: Sequence[Leaf],
  score: Callable[..., jax.Array],
  rank: WideInt,
  start: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """The greatest float32 that at least `rank` scores reach, else 0.

  Args:
    leaves: for each leaf, arrays of one shape, to compute its scores from.
    score: computes them: floating-point, not negative.
    rank: at least 1.
    start: a float32 near the answer, as the last step's threshold is. It decides how
      long the search takes and never what it finds.

  Returns:
    The threshold, and the number of passes it took.
  """
  scores = Scores.of(leaves, score)
  # As one vector: a GPU would copy each scalar by itself in every pass.
  first, unravel = ravel_pytree(init(scores.size, rank, start))
  last = lax.while_loop(
    lambda vector: ~is_done(unravel(vector)),
    lambda vector: ravel_pytree(step(scores, unravel(vector)))[0],
    first,
  )
  state: State = unravel(last)
  return lax.bitcast_convert_type(state.answer, jnp.float32), state.passes
