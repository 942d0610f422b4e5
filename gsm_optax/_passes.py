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
  up to 8, memory is what limits.
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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from gsm_optax._counting import Count, count_true, total
from gsm_optax._patterns import infinity

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

  @property
  def size(self) -> int:
    """Number of scores, those on other devices included."""
    return sum(global_size(first) for first, *_ in self.operands)


def global_size(array: Any) -> int:
  """Number of elements, over all devices if inside `shard_map`."""
  if not isinstance(array, jax.Array):
    return array.size
  mesh = jax.typeof(array).sharding.mesh
  return array.size * math.prod(mesh.shape[axis] for axis in _varying_axes(array))


class Tally(NamedTuple):
  """What one pass finds at each of k candidates.

  Attributes:
    counts: a `Count` of (k,), how many scores reach the candidate.
    row_counts: uint32 (k, number of rows), the same in each short row of weights,
      modulo 2**32. Without rows there are none; their number depends on the sharding.
    row_sums: the sums of the offsets that reach it, likewise.
  """

  counts: Count
  row_counts: jax.Array
  row_sums: jax.Array


def count(
  scores: Scores, low: jax.Array, width: jax.Array, candidates: jax.Array, rows: bool
) -> Tally:
  """Counts the scores in a bracket of patterns that reach each candidate.

  Args:
    scores: what to count.
    low: the lower end of the bracket, a pattern.
    width: of the bracket. Scores outside of it, and NaN, do not count.
    candidates: uint32 (k,), as offsets from `low`, none of them 0.
    rows: whether to keep what is counted by rows, and add up the scores too.
  """
  k = candidates.shape[0]
  below = (candidates - 1).astype(jnp.int32)
  counts: list[Count] = []
  columns: list[tuple[jax.Array, ...]] = []  # per leaf k counts by rows, then k sums
  columns_size = 0
  group: list[tuple[jax.Array, ...]] = []

  def close_group() -> None:
    nonlocal group, columns_size
    if group:
      by_rows = [jnp.concatenate(column) for column in zip(*group, strict=True)]
      counts.append(Count.of(jnp.stack(sum_together(by_rows[:k], (0,)))))
      columns.append(tuple(by_rows))
    group, columns_size = [], 0

  for leaf in scores.operands:
    operands, low_here = lax.optimization_barrier((leaf, low))
    offsets = scores.pattern(*operands) - low_here
    # As signed numbers, which processors compare in one instruction.
    offsets = jnp.where(offsets < width, offsets, 0).astype(jnp.int32)
    reached = [offsets > below[i] for i in range(k)]
    reached_offsets = [jnp.where(r, offsets, 0) for r in reached] if rows else []
    varying = _varying_axes(offsets)
    if varying or offsets.size >= _TOO_MANY:
      here = Count.concatenate([total([count_true(r)])[None] for r in reached])
      sums = [jnp.sum(x, dtype=jnp.uint32) for x in reached_offsets]
      if varying:
        high, low_limb, sums = lax.psum((here.high, here.low, sums), varying)
        here = Count.carried(high, low_limb)
      counts.append(here)
      modulo = (here.high << 16) + here.low
      numbers = [modulo[i] for i in range(k)]
      columns.append(tuple(x.astype(jnp.uint32).reshape(1) for x in numbers + sums))
      continue
    parts = [x.astype(jnp.uint32) for x in reached + reached_offsets]
    if any(map(_is_partitioned, leaf)):
      parts = _sum_within_devices(parts)
      parts = [jnp.sum(x, dtype=jnp.uint32).reshape(1) for x in parts]
    else:
      parts = _sum_rows(parts)
    if columns_size + offsets.size >= _TOO_MANY:
      close_group()
    group.append(tuple(parts))
    columns_size += offsets.size
  close_group()

  all_counts = counts[0]
  for others in counts[1:]:
    all_counts = all_counts.plus(others)
  if not rows:
    nothing = jnp.zeros((k, 0), jnp.uint32)
    return Tally(all_counts, nothing, nothing)
  by_rows = [jnp.concatenate(column) for column in zip(*columns, strict=True)]
  return Tally(all_counts, jnp.stack(by_rows[:k]), jnp.stack(by_rows[k:]))


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
    while leaf[0].ndim and math.gcd(step, leaf[0].shape[-1]) > 1 < step:
      step += 1  # so as not to meet the same columns again and again
    patterns = scores.pattern(*(array.reshape(-1)[::step] for array in leaf))
    chosen.append(patterns)
  patterns = jnp.concatenate(chosen)
  return jnp.where(patterns <= infinity(jnp.uint32), patterns, 0)


def _varying_axes(array: jax.Array) -> tuple[str, ...]:
  """The axes of an enclosing `shard_map` along which `array` differs."""
  kind: Any = jax.typeof(array)
  names = kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying
  return tuple(axis for axis in kind.sharding.mesh.axis_names if axis in names)


def _is_partitioned(array: jax.Array) -> bool:
  """Whether the compiler may have split `array` over devices."""
  mesh = jax.typeof(array).sharding.mesh
  return any(
    kind != jax.sharding.AxisType.Manual and size > 1
    for kind, size in zip(mesh.axis_types, mesh.axis_sizes, strict=True)
  )


def _sum_rows(arrays: list[jax.Array]) -> list[jax.Array]:
  """Sums of arrays of one shape along rows of some hundred elements, as it has them."""
  shape, axes = _rows(arrays[0].shape)
  summed = sum_together([array.reshape(shape) for array in arrays], axes)
  return [array.reshape(-1) for array in summed]


def _rows(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """A shape with rows of 64 to 160 elements, if it allows them, and their axes."""
  last = shape[-1] if shape else 1
  if 64 <= last <= 160:
    return shape, (len(shape) - 1,)
  lead, whole = (shape[:-1], last) if last > 160 else ((), math.prod(shape))
  lengths = [length for length in range(64, 161) if whole % length == 0]
  if lengths:
    # The fewer elements after the last whole vector, the better.
    length = min(lengths, key=lambda length: (length % 32, -length))
    shape = (*lead, whole // length, length)
    return shape, (len(shape) - 1,)
  if last > 160:
    return shape, (len(shape) - 1,)
  return (whole,), (0,)


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
  explicit = sharding.mesh.are_all_axes_explicit
  spec = PartitionSpec(*sharding.spec, None) if explicit else None
  taken_apart = [jnp.reshape(x, shape, out_sharding=spec) for x in arrays]
  return sum_together(taken_apart, (len(shape) - 1,))


def sum_together(arrays: list[jax.Array], axes: tuple[int, ...]) -> list[jax.Array]:
  """Sums of two or more uint32 arrays of one shape, in one loop over them on a CPU."""

  def several_operands(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    def add(a: Any, b: Any) -> Any:
      return tuple(x + y for x, y in zip(a, b, strict=True))

    zeros = (jnp.uint32(0),) * len(arrays)
    return tuple(lax.reduce(arrays, zeros, add, axes))

  def one_operand(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(jnp.sum(array, axes, dtype=jnp.uint32) for array in arrays)

  return list(
    lax.platform_dependent(*arrays, cpu=several_operands, default=one_operand)
  )
