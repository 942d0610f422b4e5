"""The scores of a model, arranged so that a pass over them is cheap."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

SMALL = 1 << 19
"""Leaves with fewer scores are joined: each would cost a kernel in every pass."""

TOGETHER = 64
"""Leaves joined into one array at most: a GPU's kernel takes a limited number."""

ROW = 512
"""Scores in a row of the joined leaves; the rows of others are about as long.

So short that an integer holds the counts of several candidates.
"""

Leaf = tuple[jax.Array, ...]
"""Arrays of one shape, from which the scores of a leaf are computed."""


class Scores(NamedTuple):
  """Scores of a model.

  Attributes:
    score: computes a leaf's scores, floating-point and not negative, of its arrays.
    joined: int32 (rows, `ROW`), the patterns of some small leaves each.
    whole: the other leaves, of which the scores are computed anew in each pass.
    split: those that are, or may be, split over devices, and those of 2**31 scores.
    size: the number of scores, those on other devices included.
  """

  score: Callable[..., jax.Array]
  joined: list[jax.Array]
  whole: list[Leaf]
  split: list[Leaf]
  size: int

  @classmethod
  def of(cls, leaves: Sequence[Leaf], score: Callable[..., jax.Array]) -> "Scores":
    """Arranges the leaves."""
    small: list[Leaf] = []
    whole: list[Leaf] = []
    split: list[Leaf] = []
    leaves = [leaf for leaf in leaves if leaf[0].size]
    for leaf in leaves:
      size = leaf[0].size
      if size >= 1 << 31 or any(is_partitioned(x) or varying_axes(x) for x in leaf):
        split.append(leaf)
      elif size < SMALL:
        small.append(leaf)
      else:
        whole.append(leaf)
    if len(small) == 1:
      whole, small = whole + small, []
    joined = [
      _join([signed_pattern(score(*leaf)) for leaf in small[first : first + TOGETHER]])
      for first in range(0, len(small), TOGETHER)
    ]
    size = sum(global_size(first) for first, *_ in leaves)
    return cls(score, joined, whole, split, size)


def _join(patterns: list[jax.Array]) -> jax.Array:
  """All patterns in rows of one array, and zeros, which reach no candidate, behind."""
  parts = [pattern.reshape(-1) for pattern in patterns]
  joined = lax.platform_dependent(parts, cpu=_written_in_turn, default=_concatenated)
  return joined.reshape(-1, ROW)


def _concatenated(parts: list[jax.Array]) -> jax.Array:
  """In one kernel."""
  missing = -sum(part.size for part in parts) % ROW
  return jnp.concatenate([*parts, jnp.zeros(missing, jnp.int32)])


def _written_in_turn(parts: list[jax.Array]) -> jax.Array:
  """In a loop for each leaf; a single loop would ask at every element whose it is."""
  size = sum(part.size for part in parts)
  joined, start = jnp.zeros(-(-size // ROW) * ROW, jnp.int32), 0
  for part in parts:
    joined = lax.dynamic_update_slice(joined, part, (start,))
    start += part.size
  return joined


def signed_pattern(scores: jax.Array) -> jax.Array:
  """The bits of float32 scores as int32, which order as the scores do.

  A positive NaN lies above infinity, a negative one below zero.
  """
  return lax.bitcast_convert_type(scores.astype(jnp.float32), jnp.int32)


def in_rows(leaf: Leaf) -> tuple[Leaf, int]:
  """The leaf as a matrix, and the axis along its rows: quick on CPUs and GPUs.

  There elements lie in memory in the order of their indices, so reshaping is free.
  """
  size = leaf[0].size
  lengths = [length for length in range(8, 2 * ROW) if size % length == 0]
  if lengths:
    # A whole number of vector registers, and about the length wanted.
    length = min(lengths, key=lambda n: (n < 64, n % 8, abs(n - ROW)))
  else:
    last = leaf[0].shape[-1] if leaf[0].ndim else 1
    length = last if last >= 8 else size
  return tuple(x.reshape(-1, length) for x in leaf), 1


def as_it_lies(leaf: Leaf) -> tuple[Leaf, int]:
  """The leaf with its last axis whole, and the axis before it: quick on TPUs.

  There memory holds tiles of the last two axes, and any other reshape is a copy.
  """
  shape = leaf[0].shape
  if len(shape) < 2:
    return tuple(x.reshape(1, -1) for x in leaf), 1
  *leading, rows, columns = shape
  lengths = [length for length in range(8, 2 * ROW, 8) if rows % length == 0]
  if rows < 2 * ROW or not lengths:
    return leaf, len(shape) - 2
  cut = (*leading, rows // lengths[-1], lengths[-1], columns)
  return tuple(x.reshape(cut) for x in leaf), len(shape) - 1


def within_devices(leaf: Leaf) -> tuple[Leaf, int]:
  """The leaf with its last axis in parts that each lie on one device, and their axis.

  Devices split an axis evenly, however many they are. So the axis is cut into as many
  pieces as the mesh may split it into, and no data moves.
  """
  shape = leaf[0].shape
  if not shape:
    return tuple(x.reshape(1) for x in leaf), 0
  if not any(is_partitioned(x) for x in leaf):
    return leaf, len(shape) - 1
  return tuple(_cut_last_axis(x) for x in leaf), len(shape)


def _cut_last_axis(array: jax.Array) -> jax.Array:
  *leading, last = array.shape
  sharding = jax.typeof(array).sharding
  pieces = math.gcd(last, sharding.mesh.size)
  out: NamedSharding | None = None
  if sharding.mesh.are_all_axes_explicit:
    # With its mesh: that of `jax.set_mesh` may be another, or there may be none.
    out = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec, None))
  return jnp.reshape(array, (*leading, pieces, last // pieces), out_sharding=out)


def global_size(array: Any) -> int:
  """Number of elements, over all devices if inside `shard_map`."""
  if not isinstance(array, jax.Array):
    return array.size
  mesh = jax.typeof(array).sharding.mesh
  return array.size * math.prod(mesh.shape[axis] for axis in varying_axes(array))


def varying_axes(array: jax.Array) -> tuple[str, ...]:
  """The axes of an enclosing `shard_map` along which `array` differs."""
  kind: Any = jax.typeof(array)
  names = kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying
  return tuple(axis for axis in kind.sharding.mesh.axis_names if axis in names)


def is_partitioned(array: jax.Array) -> bool:
  """Whether the compiler may have split `array` over devices, or its type says so."""
  sharding = jax.typeof(array).sharding
  mesh = sharding.mesh
  is_named = any(axes is not None for axes in sharding.spec)  # on one device too
  return is_named or any(
    kind != jax.sharding.AxisType.Manual and size > 1
    for kind, size in zip(mesh.axis_types, mesh.axis_sizes, strict=True)
  )
