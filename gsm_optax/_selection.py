"""The exact q-th greatest value of a pytree, without sort, copy or gather.

The bit pattern of a non-negative float, read as an unsigned integer, orders as the
float does. So the q-th greatest score is the greatest pattern that at least q scores
reach, and it is found by counting (`_passes`) at candidates that are placed so that few
passes are needed (`_search`). Two are the rule:

1. A *survey* counts around an estimate: for a small model the last step's threshold,
   for a large one that of a sample, which costs next to nothing there.
2. A *close* pass counts on both sides of the place that interpolation predicts, and
   also keeps number, least, greatest and sum of what each row of some hundred weights
   has between the two. In a bracket of some hundred scores hardly a row has four, and
   of up to three these tell the scores. So the answer is among them, unless it lies
   between the least and the greatest of a row of four or more, which shows in the
   numbers. Then the next pass settles it (`_settling`).

Scores that are split over devices take four or five: numbers and sums are what devices
add up in one operation, and a sum tells a score only where it is alone in its cell. So
each pass has the candidates of a survey, until one finds the answer alone. (With those
of a close pass it took seven or eight.)

The least of all scores takes one pass. `experiments.benchmarks.selection` measures all
this in passes of ``where(|g * w| >= t, g, 0)``. Whatever the scores, after six passes
the candidates divide the bracket evenly, a survey's into sevenths and those of a close
pass into thirds: some 25 passes at most, and a test holds them to 34.
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
  EVEN_AFTER,
  NARROW,
  NEW,
  OPEN,
  ROUGH,
  SETTLED,
  SURVEY,
  Bracket,
  Target,
  candidates_around,
  close_candidates,
  ends,
  everything,
  is_usable,
  narrow,
  survey_candidates,
)
from gsm_optax._settling import rank_th, settle
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

  split = is_split(scores)
  target = Target.of(q, scores.size)

  def survey(state: tuple[Bracket, jax.Array]) -> tuple[Bracket, jax.Array]:
    bracket, passes = state
    is_first = passes == 0
    candidates = jnp.where(
      is_first,
      candidates_around(bracket, start, AROUND_LAST),
      survey_candidates(bracket, passes),
    )
    if not split:  # a sample would move data between devices
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
    return narrow(bracket, candidates, counts, target)[0], passes + 1

  # So few that hardly any four share a row, wherever they are; of scores that are split
  # over devices, a pass tells only one that is alone.
  few = Count.of(2 if split else 1 + int(0.3 * scores.rows ** (2 / 3)))
  spread = SURVEY if split else CLOSE

  def is_few(bracket: Bracket) -> jax.Array:
    found = ~(bracket.inside >= few)
    return found if split else found | bracket.is_least()

  def is_rough(state: tuple[Bracket, jax.Array]) -> jax.Array:
    bracket, passes = state
    is_unsure = (bracket.error > ROUGH) & (passes < EVEN_AFTER)
    return ((bracket.width > NARROW) | is_unsure) & ~is_few(bracket)

  bracket, passes = lax.while_loop(
    is_rough,
    survey,
    (everything(q, scores.size), jnp.int32(0)),
  )

  def close(state: Any) -> Any:
    bracket, passes, outcome, guess = state
    candidates = close_candidates(bracket, passes, outcome, guess, spread)
    everywhere = is_few(bracket) & (outcome < OPEN) & (passes < EVEN_AFTER)
    candidates = jnp.where(everywhere, ends(bracket, len(spread)), candidates)
    counts, rows = count_by_rows(scores, bracket.low, bracket.width, candidates)
    narrowed, cell = narrow(bracket, candidates, counts, target)
    inner = jnp.clip(cell, 1, len(spread) - 1)  # a cell with a candidate at either end
    guess, outcome = settle(
      narrowed, bracket.low, rows.of_cell(inner - 1), cell == inner, split
    )
    return narrowed, passes + 1, outcome, guess

  bracket, passes, _, guess = lax.while_loop(
    lambda state: (state[0].width > 1) & (state[2] != SETTLED),
    close,
    (bracket, passes, jnp.asarray(NEW), bracket.low),
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
