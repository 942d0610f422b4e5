"""One pass over all scores: how many reach each of several candidates.

What is quick here is what the compiler makes of it. Tried, predicted and found, on two
CPU cores with JAX 0.10; a "pass" is ``where(|g * w| >= t, g, 0)``, 25 million weights:

- ``jnp.sum(pattern >= t)``, predicted to run at the speed of memory: 28 ms, five times
  slower. On a CPU, XLA rewrites a large sum of one operand so that the comparison is
  written out. Two-stage sums, float accumulators and dot products are all the same.
- `lax.reduce` of several operands at once is not rewritten: it fuses with the scores,
  vectorises along the last axis and uses both cores. Two counts take 4.5 ms. Along all
  axes it uses one core (8 ms), along the leading ones it strides (95 ms).
- Several candidates in one pass: 2, 4, 8 and 16 take 0.56, 0.64, 0.70 and 0.93 passes;
  up to 8, memory is what limits. In the caches, computing does: there each costs.
- What is summed must not have four dimensions: rows cut from a kernel of 3×3×512×512
  take three times as long as the same of a matrix, since each index is taken apart
  again. The reshape must come before the loop, or it ends up in the fused kernel.
- Rows of 100 weights are slower than of 96: after the last whole vector come single
  ones. Rows for the least and the greatest: some 200 weights in a small model (with
  100, a search took a tenth longer: what follows costs by rows), more in a large one,
  where what follows each row (200,000 of them) took as long as a pass.
- Number, least and greatest of a row tell two scores in the cell, their sum a third.
  Without the sum, LeNet-5 takes 2.7 passes instead of 2.3, which cost a tenth less.
- Counting each gradient as soon as it is there, outside of the loop, was predicted to
  hide the first pass behind the backward pass; it was no quicker.
- Writing the patterns out first would cost 0.73 passes, so they are computed again in
  each pass, from gradient and weight. Left alone, XLA shares the product between the
  passes or moves it out of the loop, and so writes it out after all (117 ms against
  22): hence the barrier. It must be one per leaf: a common one would make what is
  replicated inside `shard_map` vary with what is sharded.
- Partitioned over devices, the results of several operands are gathered if they sum
  over a split axis. So rows are cut where devices may meet, and a sum of one operand
  follows, which becomes one all-reduce for all leaves and candidates together.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from gsm_optax._counting import Count, count_true, total
from gsm_optax._patterns import infinity

_INT32_MAX = np.int32(2**31 - 1)

_TOO_MANY = 1 << 31
"""Elements that are not counted in one 32-bit number."""


class Scores(NamedTuple):
  """Scores that are not in memory, as what to compute their bit patterns from.

  Attributes:
    operands: for each leaf, arrays of one shape.
    pattern: makes a leaf's patterns, uint32 of that shape, of its operands.
  """

  operands: Sequence[tuple[jax.Array, ...]]
  pattern: Callable[..., jax.Array]

  @classmethod
  def in_rows(
    cls, operands: Sequence[tuple[jax.Array, ...]], pattern: Callable[..., jax.Array]
  ) -> "Scores":
    """The same scores with each leaf cut into rows, if no devices share it.

    The more rows, the fewer weights fall into the same; but what follows costs by rows.
    """
    size = sum(first.size for first, *_ in operands)
    target = min(max(size >> 16, 224), 1024)
    cut = [
      leaf
      if any(_is_partitioned(x) or _varying_axes(x) for x in leaf)
      else tuple(jnp.reshape(x, _rows(x.size, target)) for x in leaf)
      for leaf in operands
    ]
    return cls(cut, pattern)

  @property
  def size(self) -> int:
    """Number of scores, those on other devices included."""
    return sum(global_size(first) for first, *_ in self.operands)

  @property
  def rows(self) -> int:
    """Number of rows: of vectors along the last axis."""
    return sum(math.prod(first.shape[:-1]) for first, *_ in self.operands)


def global_size(array: Any) -> int:
  """Number of elements, over all devices if inside `shard_map`."""
  if not isinstance(array, jax.Array):
    return array.size
  mesh = jax.typeof(array).sharding.mesh
  return array.size * math.prod(mesh.shape[axis] for axis in _varying_axes(array))


def _rows(size: int, target: int) -> tuple[int, int]:
  """A number and a length of rows: of whole vectors, and about `target`, if can be."""
  lengths = [length for length in range(8, 2 * target) if size % length == 0]
  if not lengths:
    return 1, size
  length = min(lengths, key=lambda n: (n < 64, n % 8, abs(n - target)))
  return size // length, length


class Rows(NamedTuple):
  """What a pass finds in short rows of weights, for k - 1 cells between k candidates.

  How many rows there are depends on the sharding.

  Attributes:
    number: int32 (k - 1, number of rows), how many offsets lie in each cell; -1 where
      nothing else is known.
    least: int32, the least of them, if any.
    greatest: int32, the greatest.
    sums: int32, their sum modulo 2**32.
  """

  number: jax.Array
  least: jax.Array
  greatest: jax.Array
  sums: jax.Array

  def of_cell(self, cell: jax.Array) -> "Rows":
    """The rows of a single cell, of which the number may be traced."""
    return Rows(*(lax.dynamic_index_in_dim(x, cell, keepdims=False) for x in self))


def count(
  scores: Scores, low: jax.Array, width: jax.Array, candidates: jax.Array
) -> Count:
  """Counts the scores in a bracket of patterns that reach each candidate.

  Args:
    scores: what to count.
    low: the lower end of the bracket, a pattern.
    width: of the bracket. Scores outside of it, and NaN, do not count.
    candidates: uint32 (k,), as offsets from `low`, in ascending order, none of them 0.

  Returns:
    A `Count` of (k,).
  """
  return _tally(scores, low, width, candidates, with_rows=False)[0]


def count_by_rows(
  scores: Scores, low: jax.Array, width: jax.Array, candidates: jax.Array
) -> tuple[Count, Rows]:
  """The same, and what the cells between the candidates hold, row by row.

  With two candidates for scores that are not split over devices, all that `Rows` may
  tell; else, of the rows with one offset in a cell, this offset.
  """
  counts, rows = _tally(scores, low, width, candidates, with_rows=True)
  return counts, Rows(*(jnp.concatenate(x, axis=1) for x in zip(*rows, strict=True)))


def _tally(
  scores: Scores,
  low: jax.Array,
  width: jax.Array,
  candidates: jax.Array,
  with_rows: bool,
) -> tuple[Count, list[Rows]]:
  """The counts, and the rows of each leaf."""
  k = candidates.shape[0]
  below = (candidates - 1).astype(jnp.int32)
  counts: list[Count] = []
  rows: list[Rows] = []
  group: list[list[jax.Array]] = []  # the counts by rows of some leaves
  group_size = 0
  all_here = k == 2 and not is_split(scores)

  def close_group() -> None:
    nonlocal group, group_size
    if group:
      by_rows = [jnp.concatenate(column) for column in zip(*group, strict=True)]
      counts.append(Count.of(jnp.stack(reduce_together(by_rows, (0,)))))
    group, group_size = [], 0

  for leaf in scores.operands:
    operands, low_here = lax.optimization_barrier((leaf, low))
    offsets = scores.pattern(*operands) - low_here
    # As signed numbers, which processors compare in one instruction.
    offsets = jnp.where(offsets < width, offsets, 0).astype(jnp.int32)
    reached = [offsets > below[i] for i in range(k)]
    ones = [r.astype(jnp.int32) for r in reached]
    sums = [jnp.where(r, offsets, 0) for r in reached] if with_rows else []
    varying = _varying_axes(offsets)
    if varying or offsets.size >= _TOO_MANY:
      here = Count.concatenate([total([count_true(r)])[None] for r in reached])
      sums = [jnp.sum(x, dtype=jnp.int32) for x in sums]
      if varying:
        high, low_limb, sums = lax.psum((here.high, here.low, sums), varying)
        here = Count.carried(high, low_limb)
      counts.append(here)
      if with_rows:
        modulo = (here.high << 16) + here.low
        rows.append(_alone([modulo[i].reshape(1) for i in range(k)], sums))
    else:
      if group_size + offsets.size >= _TOO_MANY:
        close_group()
      if any(map(_is_partitioned, leaf)):
        parts = [jnp.sum(x, dtype=jnp.int32) for x in _sum_within_devices(ones + sums)]
        parts = [x.reshape(1) for x in parts]
      elif with_rows and all_here:
        least = jnp.where(reached[0], offsets, _INT32_MAX)
        greatest = jnp.where(reached[1], 0, offsets)
        between = jnp.where(reached[1], 0, sums[0])
        operations = [lax.add, lax.add, lax.min, lax.max, lax.add]
        parts = _by_rows([*ones, least, greatest, between], operations)
        rows.append(Rows(*(x[None] for x in (parts[0] - parts[1], *parts[2:]))))
      else:
        parts = _by_rows(ones + sums)
      if with_rows and not all_here:
        rows.append(_alone(parts[:k], parts[k:]))
      group.append(parts[:k])
      group_size += offsets.size
  close_group()

  all_counts = counts[0]
  for others in counts[1:]:
    all_counts = all_counts.plus(others)
  return all_counts, rows


def _alone(numbers: list[jax.Array], sums: list[jax.Array]) -> Rows:
  """Rows of a leaf, from what of it reaches each candidate modulo 2**32.

  Sums can be added up over devices together with the counts, in one operation; the
  least and the greatest could not. The sum of one score is both.
  """
  inside = jnp.stack([a - b for a, b in pairwise(numbers)])
  alone = jnp.stack([(a - b).reshape(-1) for a, b in pairwise(sums)])
  return Rows(jnp.where((inside == 0) | (inside == 1), inside, -1), alone, alone, alone)


def is_split(scores: Scores) -> bool:
  """Whether some leaf is, or may be, split over devices."""
  return any(
    _is_partitioned(array) or _varying_axes(array)
    for operands in scores.operands
    for array in operands
  )


def sample(scores: Scores, number: int) -> jax.Array:
  """Patterns of about so many scores, evenly spread over them, with 0 for NaN."""
  stride = max(1, scores.size // number)
  chosen: list[jax.Array] = []
  for leaf in scores.operands:
    step = stride
    while math.gcd(step, 2 * 3 * 5 * 7 * 11 * 13) > 1 < step:
      step += 1  # so as not to meet the same columns again and again
    # Not by indexing, which older JAX turns into a gather with 64-bit indices if large.
    flat = [array.reshape(-1) for array in leaf]
    every = [lax.slice(array, (0,), array.shape, (step,)) for array in flat]
    chosen.append(scores.pattern(*every))
  patterns = jnp.concatenate(chosen)
  return jnp.where(patterns <= infinity(jnp.uint32), patterns, 0)


def _varying_axes(array: jax.Array) -> tuple[str, ...]:
  """The axes of an enclosing `shard_map` along which `array` differs."""
  kind: Any = jax.typeof(array)
  names = kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying
  return tuple(axis for axis in kind.sharding.mesh.axis_names if axis in names)


def _is_partitioned(array: jax.Array) -> bool:
  """Whether the compiler may have split `array` over devices, or its type says so."""
  sharding = jax.typeof(array).sharding
  mesh = sharding.mesh
  is_named = any(axes is not None for axes in sharding.spec)  # on one device too
  return is_named or any(
    kind != jax.sharding.AxisType.Manual and size > 1
    for kind, size in zip(mesh.axis_types, mesh.axis_sizes, strict=True)
  )


def _by_rows(
  arrays: list[jax.Array], operations: Sequence[Any] | None = None
) -> list[jax.Array]:
  """Reduces arrays of one shape along the last axis, to vectors."""
  reduced = reduce_together(arrays, (arrays[0].ndim - 1,), operations)
  return [array.reshape(-1) for array in reduced]


def _sum_within_devices(arrays: list[jax.Array]) -> list[jax.Array]:
  """Sums over parts of the last axis that no device shares with another.

  However many devices split an axis, they split it evenly. So it can be taken apart
  into as many pieces as the mesh allows, each on one device, and nothing is moved.
  """
  shape, sharding = arrays[0].shape, jax.typeof(arrays[0]).sharding
  if not shape:
    return arrays
  pieces = math.gcd(shape[-1], sharding.mesh.size)
  shape = (*shape[:-1], pieces, shape[-1] // pieces)
  wanted = None
  if sharding.mesh.are_all_axes_explicit:
    # With its mesh: that of `jax.set_mesh` may be another, or there may be none.
    wanted = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec, None))
  taken_apart = [jnp.reshape(x, shape, out_sharding=wanted) for x in arrays]
  return reduce_together(taken_apart, (len(shape) - 1,))


def reduce_together(
  arrays: list[jax.Array],
  axes: tuple[int, ...],
  operations: Sequence[Any] | None = None,
) -> list[jax.Array]:
  """Reduces two or more int32 arrays of one shape, in one loop over them on a CPU.

  Args:
    arrays: what to reduce.
    axes: along which.
    operations: `lax.add`, `lax.min` or `lax.max` for each; all `lax.add` by default.
  """
  operations = operations or [lax.add] * len(arrays)
  identities = {lax.add: np.int32(0), lax.min: _INT32_MAX, lax.max: -_INT32_MAX - 1}
  separately = {
    lax.add: partial(jnp.sum, dtype=jnp.int32),
    lax.min: jnp.min,
    lax.max: jnp.max,
  }

  def several_operands(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    def combine(a: Any, b: Any) -> Any:
      return tuple(op(x, y) for op, x, y in zip(operations, a, b, strict=True))

    start = tuple(identities[op] for op in operations)
    return tuple(lax.reduce(arrays, start, combine, axes))

  def one_operand(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    pairs = zip(operations, arrays, strict=True)
    return tuple(separately[op](array, axis=axes) for op, array in pairs)

  return list(
    lax.platform_dependent(*arrays, cpu=several_operands, default=one_operand)
  )
