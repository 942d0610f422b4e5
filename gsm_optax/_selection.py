"""The exact q-th greatest value of a pytree, without sort, copy or gather.

The bit pattern of a non-negative float, read as an unsigned integer, orders as the
float does. So the q-th greatest score is the greatest pattern that at least q scores
reach, and it is found by counting (`_passes`) at candidates that are placed so that few
passes are needed (`_search`). Two are the rule:

1. A *survey* counts around an estimate: for a small model the last step's threshold,
   for a large one that of a sample, which costs next to nothing there.
2. A *close* pass counts around the place that interpolation predicts, and also keeps
   number, least and greatest of what each row of some hundred weights has between two
   candidates. In a bracket of some hundred scores hardly a row has three, and of one or
   two these *are* the scores. So the answer is among them, unless it lies between the
   least and the greatest of a row of three or more, which shows in the numbers. Then
   the next pass settles it.

The least of all scores takes one pass. `experiments.benchmarks.selection` measures all
this in passes of ``where(|g * w| >= t, g, 0)``. Whatever the scores, after six passes
the candidates divide the bracket evenly, so that no input needs more than some twenty.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gsm_optax._counting import Count, count_true, total
from gsm_optax._passes import (
  Scores,
  count,
  count_by_rows,
  global_size,
  is_split,
  sample,
)
from gsm_optax._patterns import bit_pattern, infinity, widen
from gsm_optax._search import (
  AROUND_LAST,
  AROUND_SAMPLE,
  CLOSE,
  NARROW,
  Bracket,
  among,
  candidates_around,
  close_candidates,
  everything,
  is_usable,
  narrow,
  number_of,
  rank_th,
  survey_candidates,
)
from gsm_optax._trees import is_known

_SAMPLE = 8192
"""Scores to look at where there is no start. Their error is far below 10 %."""

_LARGE = 1 << 19
"""Scores of which a sample costs a small part of a pass: it is taken at every step."""


def global_threshold(scores: Any, q: int | jax.Array | Count) -> jax.Array:
  r"""The exact q-th greatest value over all leaves of a pytree of non-negative scores.

  .. math:: \max \{t : \#\{i : s_i \ge t\} \ge q\}

  Every leaf may have its own shape, floating-point type and sharding; nothing is
  sorted, concatenated or moved between devices. NaN takes no place in the order:
  the answer is that for the other scores.

  Args:
    scores: a pytree of floating-point arrays, non-negative (-0.0 counts as 0).
    q: from 1 to the number of scores; a Python int, or an integer scalar that may be
      traced: one that lies outside is clipped.

  Returns:
    A float32 scalar (float64 if a leaf is float64). Where fewer than q scores are
    numbers, 0: all of them are at least that.

  Raises:
    ValueError: for a tree without scores, for scores that are not floating-point, for
      a `q` that is no whole number, and for one outside its range unless it is traced.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> scores = {"a": jnp.array([3.0, 1.0]), "b": jnp.array([[2.0], [5.0]])}
    >>> float(gsm_optax.global_threshold(scores, 2))
    3.0
  """
  leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(scores)]
  for leaf in leaves:
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
      raise ValueError(f"Scores must be floating-point, but a leaf holds {leaf.dtype}.")
  leaves = [leaf for leaf in leaves if leaf.size]
  if not leaves:
    raise ValueError("There are no scores to choose from: the tree is empty.")
  rank = _rank(q, sum(global_size(leaf) for leaf in leaves))
  dtype = jnp.result_type(jnp.float32, *leaves)
  leaves = [widen(leaf, dtype) for leaf in leaves]
  if dtype == jnp.float64:
    pattern = bisect([bit_pattern(leaf) for leaf in leaves], rank)
  else:
    scores = [(leaf,) for leaf in leaves]
    pattern, _ = search(scores, bit_pattern, rank, jnp.float32(0))
  return lax.bitcast_convert_type(pattern, dtype)


def _rank(q: Any, size: int) -> Count:
  if isinstance(q, Count):
    return q
  kind = bool if isinstance(q, bool) else getattr(q, "dtype", type(q))
  is_whole = kind is int or (kind is not bool and jnp.issubdtype(kind, jnp.integer))
  if not is_whole or np.shape(q):
    raise ValueError(f"q is a number of scores, a whole one, not {q!r}.")
  if is_known(q):
    if not 1 <= int(q) <= size:
      raise ValueError(f"q must be from 1 to {size}, the number of scores, not {q}.")
    return Count.of(int(q))
  positive = Count.of(jnp.maximum(q, 1))
  all_ = Count.of(size)
  is_less = all_ >= positive
  return Count(
    jnp.where(is_less, positive.high, all_.high),
    jnp.where(is_less, positive.low, all_.low),
  )


# Jitted for the sake of those who call without jit: each time they would compile anew.
@partial(jax.jit, static_argnums=1, inline=True)
def search(
  operands: Sequence[tuple[jax.Array, ...]],
  pattern: Callable[..., jax.Array],
  q: Count,
  start: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """The greatest uint32 pattern that at least `q` scores reach, else 0.

  Args:
    operands: for each leaf, arrays to compute its scores from; see `Scores`.
    pattern: computes them, as bit patterns.
    q: at least 1.
    start: a float32 near the answer, as the last step's threshold is. It decides how
      long the search takes and never what it finds.

  Returns:
    The pattern, and the number of passes it took.
  """
  scores = Scores.in_rows(operands, pattern)

  def estimate() -> jax.Array:
    patterns = sample(scores, _SAMPLE)
    share = q.to_float() / float(scores.size)  # an int may be too large for JAX
    rank = jnp.clip(jnp.round(share * patterns.size), 1, patterns.size)
    rank = Count.of(rank.astype(jnp.int32))
    found = rank_th(
      patterns,
      jnp.ones_like(patterns, jnp.int32),
      rank,
      jnp.uint32(0),
      everything(q, 0).width,
    )
    return lax.bitcast_convert_type(found, jnp.float32)

  def survey(state: tuple[Bracket, jax.Array]) -> tuple[Bracket, jax.Array]:
    bracket, passes = state
    is_first = passes == 0
    candidates = jnp.where(
      is_first,
      candidates_around(bracket, start, AROUND_LAST),
      survey_candidates(bracket, passes),
    )
    if not is_split(scores):  # a sample would move data between devices
      is_lost = is_first
      if scores.size < _LARGE:
        is_far_off = (passes == 1) & (bracket.width > NARROW)
        is_lost = jnp.where(is_usable(start), is_far_off, is_first)
      candidates = lax.cond(
        is_lost,
        lambda: candidates_around(bracket, estimate(), AROUND_SAMPLE),
        lambda: candidates,
      )
    counts = count(scores, bracket.low, bracket.width, candidates)
    return narrow(bracket, candidates, counts)[0], passes + 1

  # So few that hardly any three share a row, wherever they are.
  few = Count.of(1 + int(0.6 * scores.rows ** (2 / 3)))

  bracket, passes = lax.while_loop(
    lambda state: (
      (state[0].width > NARROW) & (state[0].inside >= few) & ~state[0].is_least()
    ),
    survey,
    (everything(q, scores.size), jnp.int32(0)),
  )

  def close(state: Any) -> Any:
    bracket, passes, _, guess = state
    candidates = close_candidates(bracket, passes, guess, few)
    counts, rows = count_by_rows(scores, bracket.low, bracket.width, candidates)
    narrowed, cell = narrow(bracket, candidates, counts)
    inner = jnp.clip(cell, 1, len(CLOSE) - 1)  # a cell with a candidate at either end
    numbers, least, greatest = rows.of_cell(inner - 1)
    # The greatest of a row counts once and the least as often as there are others: too
    # low for those in between, and right if the answer is not among them.
    values = jnp.concatenate([greatest, least]).astype(jnp.uint32)
    others = jnp.maximum(numbers - 1, 0)
    one = (numbers > 0).astype(jnp.int32)
    weights = jnp.concatenate([one, others])
    known = Count.of(number_of(values, weights, [jnp.uint32(0)])[0])
    unknown = narrowed.inside.minus(known)
    guess = rank_th(
      values,
      weights,
      among(narrowed.rank, narrowed.inside, known),
      narrowed.low - bracket.low,
      narrowed.width,
    )
    # Enough reach the guess if all are as low as they can be; too few exceed it if all
    # are as high.
    (reach,) = number_of(values, weights, [guess])
    others_high = jnp.concatenate(
      [jnp.maximum(numbers - 1, one), (numbers > 1).astype(jnp.int32)]
    )
    (exceed,) = number_of(values, others_high, [guess + 1])
    settled = Count.of(reach) >= narrowed.rank
    settled &= ~(unknown.plus(Count.of(exceed)) >= narrowed.rank)
    settled &= (cell == inner) & (narrowed.inside.high < 1 << 15)  # no sum overflows
    return narrowed, passes + 1, settled, bracket.low + guess

  no_guess = bracket.low + bracket.width
  bracket, passes, _, guess = lax.while_loop(
    lambda state: (state[0].width > 1) & ~state[2],
    close,
    (bracket, passes, jnp.zeros((), bool), no_guess),
  )
  return jnp.where(bracket.width > 1, guess, bracket.low), passes


@partial(jax.jit, inline=True)
def bisect(patterns: Sequence[jax.Array], q: Count) -> jax.Array:
  """What `search` finds, in one pass per bit: short to compile, and for 64 bits too."""
  dtype = patterns[0].dtype
  limit = infinity(dtype)
  # At least q reach `low` (or it is 0), and fewer reach `high`.
  bounds = (jnp.zeros((), dtype), jnp.asarray(limit + 1, dtype))

  def halve(bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    low, high = bounds
    middle = low + (high - low) // 2
    # One unsigned comparison for both ends: what lies above infinity is no number.
    counts = [count_true(pattern - middle <= limit - middle) for pattern in patterns]
    reached = total(counts) >= q
    return jnp.where(reached, middle, low), jnp.where(reached, high, middle)

  low, _ = lax.while_loop(lambda b: b[1] - b[0] > 1, halve, bounds)
  return low
