"""One pass over all scores: how many reach each candidate, and the least of some."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gsm_optax._threshold._scores import (
  Leaf,
  Scores,
  as_it_lies,
  in_rows,
  signed_pattern,
  varying_axes,
  within_devices,
)
from gsm_optax._threshold._wide_int import WideInt, sum_exactly

GREATEST = np.int32(2**31 - 1)
"""Greater than the pattern of any number."""

Reduce = Callable[[list[jax.Array], int], list[jax.Array]]
"""Reduces int32 arrays of one shape along an axis: the last to its minimum, the others
to their sums."""


class Tally(NamedTuple):
  """What a pass finds in each row of a leaf.

  Attributes:
    counts: int32 arrays of one shape. Each packs `fields` counts: how many scores of a
      row reach each of so many candidates.
    least: int32 of the same shape, the least pattern in the row that reaches `low`.
    fields: counts in an int32; as many as the length of a row allows.
  """

  counts: list[jax.Array]
  least: jax.Array
  fields: int

  def unpacked(self, number: int) -> list[jax.Array]:
    """The counts for each of `number` candidates."""
    bits = 31 // self.fields
    return [
      (self.counts[i // self.fields] >> (i % self.fields * bits)) & ((1 << bits) - 1)
      for i in range(number)
    ]


def take_pass(
  scores: Scores, candidates: jax.Array, low: jax.Array, is_pinned: jax.Array
) -> tuple[WideInt, jax.Array]:
  """Reads all scores once.

  Args:
    scores: the scores of a model.
    candidates: int32 (k,), patterns above 0.
    low: int32, a pattern.
    is_pinned: True if the caller needs the least pattern, False if it needs the counts.
      Devices exchange one or the other.

  Returns:
    How many scores reach each candidate, and the least pattern that reaches `low`. Of
    scores that are split over devices, the counts are wrong where they are not needed,
    and the least pattern is `GREATEST`.
  """
  k = candidates.shape[0]
  passes: list[tuple[WideInt, jax.Array]] = []
  for joined, whole in _below_2_to_31(scores):
    counts, least = lax.platform_dependent(
      (joined, whole, candidates, low),
      tpu=partial(_over_whole_leaves, scores.score, as_it_lies, reduce_apart),
      default=partial(_over_whole_leaves, scores.score, in_rows, reduce_together),
    )
    passes.append((WideInt.of(counts), least))
  if scores.split:
    tallies = [
      _scored_anew(scores.score, *within_devices(leaf), candidates, low, _reduce)
      for leaf in scores.split
    ]
    none = WideInt.of(jnp.zeros(k, jnp.int32))
    # The barriers keep compilers from computing, and exchanging, both.
    passes.append(
      lax.cond(
        is_pinned,
        lambda: lax.optimization_barrier((none, _least(tallies))),
        lambda: lax.optimization_barrier(
          (_counts(scores.split, tallies, k), jnp.asarray(GREATEST))
        ),
      )
    )
  reached, least = passes[0]
  for counts, other in passes[1:]:
    reached, least = reached.plus(counts), jnp.minimum(least, other)
  if scores.split:
    least = jnp.where(is_pinned, least, GREATEST)
  return reached, least


def _below_2_to_31(
  scores: Scores,
) -> Iterator[tuple[list[jax.Array], list[Leaf]]]:
  """Joined and whole leaves, in groups of fewer than 2**31 scores."""
  joined, whole, size = list[jax.Array](), list[Leaf](), 0
  for leaf in [*scores.joined, *scores.whole]:
    first = leaf if isinstance(leaf, jax.Array) else leaf[0]
    if size + first.size >= 1 << 31:
      yield joined, whole
      joined, whole, size = [], [], 0
    if isinstance(leaf, jax.Array):
      joined.append(leaf)
    else:
      whole.append(leaf)
    size += first.size
  if size:
    yield joined, whole


def _over_whole_leaves(
  score: Callable[..., jax.Array],
  arrange: Callable[[Leaf], tuple[Leaf, int]],
  reduce: Reduce,
  operands: tuple[list[jax.Array], list[Leaf], jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
  """The counts, int32 (k,), and the least pattern of leaves on one device."""
  joined, whole, candidates, low = operands
  tallies = [_tally(rows, candidates, low, 1, reduce) for rows in joined]
  for leaf in whole:
    tallies.append(_scored_anew(score, *arrange(leaf), candidates, low, reduce))
  groups: dict[int, list[Tally]] = defaultdict(list)
  for tally in tallies:
    groups[tally.fields].append(tally)
  k = candidates.shape[0]
  totals = [reduce(_as_vectors(group, k), 0) for group in groups.values()]
  counts = sum(jnp.stack(total[:-1]) for total in totals)
  least = jnp.min(jnp.stack([total[-1] for total in totals]))
  return jnp.asarray(counts), least


def _as_vectors(tallies: list[Tally], k: int) -> list[jax.Array]:
  """The counts of each candidate and the least patterns of some leaves, as vectors."""
  columns = zip(*([*tally.counts, tally.least] for tally in tallies), strict=True)
  *counts, least = [
    jnp.concatenate([part.reshape(-1) for part in column]) for column in columns
  ]
  return [*Tally(counts, least, tallies[0].fields).unpacked(k), least]


def _scored_anew(
  score: Callable[..., jax.Array],
  arrays: Leaf,
  axis: int,
  candidates: jax.Array,
  low: jax.Array,
  reduce: Reduce,
) -> Tally:
  """The tally of a leaf whose scores are not kept.

  Without the barrier the compiler would compute them before the loop, and keep them.
  """
  arrays, candidates, low = lax.optimization_barrier((arrays, candidates, low))
  return _tally(signed_pattern(score(*arrays)), candidates, low, axis, reduce)


def _tally(
  pattern: jax.Array, candidates: jax.Array, low: jax.Array, axis: int, reduce: Reduce
) -> Tally:
  """Counts along the given axis of a leaf's patterns."""
  k = candidates.shape[0]
  fields = min(k, max(1, 31 // pattern.shape[axis].bit_length()))
  bits = 31 // fields
  words: list[jax.Array] = []
  for first in range(0, k, fields):
    parts = [
      jnp.where(pattern >= candidates[i], np.int32(1 << (bits * (i - first))), 0)
      for i in range(first, min(first + fields, k))
    ]
    words.append(sum(parts[1:], start=parts[0]))
  reaching = jnp.where(pattern >= low, pattern, GREATEST)
  *counts, least = reduce([*words, reaching], axis)
  return Tally(counts, least, fields)


def _counts(leaves: list[Leaf], tallies: list[Tally], k: int) -> WideInt:
  """The counts of split leaves, summed over devices."""
  total = WideInt.of(jnp.zeros(k, jnp.int32))
  for leaf, tally in zip(leaves, tallies, strict=True):
    counts = sum_exactly(jnp.stack(tally.unpacked(k)), leaf[0].size)
    axes = varying_axes(tally.least)
    if axes:
      counts = WideInt.carried(*lax.psum((counts.high, counts.low), axes))
    total = total.plus(counts)
  return total


def _least(tallies: list[Tally]) -> jax.Array:
  """The least pattern of split leaves on any device."""
  least = jnp.asarray(GREATEST)
  for tally in tallies:
    of_leaf = jnp.min(tally.least)
    axes = varying_axes(of_leaf)
    least = jnp.minimum(least, lax.pmin(of_leaf, axes) if axes else of_leaf)
  return least


def _reduce(arrays: list[jax.Array], axis: int) -> list[jax.Array]:
  return lax.platform_dependent(
    arrays,
    tpu=partial(reduce_apart, axis=axis),
    default=partial(reduce_together, axis=axis),
  )


def reduce_together(arrays: list[jax.Array], axis: int) -> list[jax.Array]:
  """One reduction of all arrays: quick on CPUs and GPUs."""

  def combine(a: Any, b: Any) -> tuple[jax.Array, ...]:
    sums = [x + y for x, y in zip(a[:-1], b[:-1], strict=True)]
    return (*sums, jnp.minimum(a[-1], b[-1]))

  start = (*[np.int32(0)] * (len(arrays) - 1), GREATEST)
  return list(lax.reduce(tuple(arrays), start, combine, (axis,)))


def reduce_apart(arrays: list[jax.Array], axis: int) -> list[jax.Array]:
  """One reduction per array, which the compiler fuses: quick on TPUs."""
  *words, reaching = arrays
  sums = [jnp.sum(word, axis=axis, dtype=jnp.int32) for word in words]
  return [*sums, jnp.min(reaching, axis=axis)]
