"""Merging and splitting axes, and taking some of an axis' positions."""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from gsm_optax._shrink._analysis import Key
from gsm_optax._shrink._units import STAYS, Labels, Units
from gsm_optax._shrink._values import NOW, ZEROED, Axis, Uniform, staying

Positions = npt.NDArray[np.int64]

OTHERWISE = "tied to what is cut up otherwise"
"""Why units of axes stay that are united, but were merged or split in other ways."""


def united(units: Units, axes: Sequence[Axis], reason: str = OTHERWISE) -> Labels:
  """The labels of axes whose positions go in all of them or in none."""
  return reduce(lambda a, b: units.unite(a, b, reason), [axis.labels for axis in axes])


def merge(units: Units, axes: Sequence[Axis]) -> Axis:
  """Several axes as one, the last index running fastest."""
  long = [axis for axis in axes if len(axis) != 1]
  if len(long) <= 1:
    return long[0] if long else (axes[0] if axes else staying(1))
  shape = tuple(len(axis) for axis in long)

  def spread(array: npt.NDArray[Any], number: int) -> npt.NDArray[Any]:
    """Of the positions of one axis, as broadcast to all."""
    ones = [1] * (len(shape) - number - 1)
    rows = array.reshape(*array.shape[:-1], *[1] * number, array.shape[-1], *ones)
    return np.broadcast_to(rows, (*array.shape[:-1], *shape))

  labels = units.together(*(spread(a.labels, i) for i, a in enumerate(long)))
  known = np.zeros((2, *shape), bool)
  known[ZEROED] = True
  value = np.zeros((2, *shape))
  for number, axis in enumerate(long):
    own, values = spread(axis.uniform.known, number), spread(axis.uniform.value, number)
    value[NOW] = np.where(own[NOW], values[NOW], value[NOW])
    known[NOW] |= own[NOW]
    # A merged position goes with any of its units, and has to be zero with each.
    stays = spread(units.stays(axis.labels), number)
    known[ZEROED] &= stays | (own[ZEROED] & (values[ZEROED] == 0))
  flat = math.prod(shape)
  return Axis(
    labels.reshape(flat), Uniform(known.reshape(2, flat), value.reshape(2, -1))
  )


def split(units: Units, axis: Axis, sizes: Sequence[int], key: Key) -> list[Axis]:
  """One axis as several, the last index running fastest."""
  long = [size for size in sizes if size != 1]
  if len(long) <= 1:
    return [axis if size != 1 or not long else staying(1) for size in sizes]
  labels = _split_labels(units, axis.labels, sizes, key)
  known = axis.uniform.known.reshape(2, *sizes)
  value = axis.uniform.value.reshape(2, *sizes)
  result: list[Axis] = []
  for number, each in enumerate(labels):
    rows = np.moveaxis(known, number + 1, 1).reshape(2, len(each), -1)
    values = np.moveaxis(value, number + 1, 1).reshape(2, len(each), -1)
    same = rows.all(2) & (values == values[:, :, :1]).all(2)
    result.append(Axis(each, Uniform(same, np.where(same, values[:, :, 0], 0.0))))
  return result


def _split_labels(
  units: Units, labels: Labels, sizes: Sequence[int], key: Key
) -> list[Labels]:
  """Labels of several axes, of which a position goes with its index on any of them."""
  if units.stays(labels).all():
    grid = labels.reshape(sizes)
    return [
      np.moveaxis(grid, number, 0).reshape(size, -1)[:, 0]
      for number, size in enumerate(sizes)
    ]
  nodes, inverse = np.unique(units.find(labels), return_inverse=True)
  members = [units.members(int(node)) for node in nodes]
  grid = inverse.reshape(sizes)
  # A unit of all positions with some index is one of that index.
  common = [
    [
      _intersection(members, np.unique(np.take(grid, index, number)).tolist())
      for index in range(size)
    ]
    for number, size in enumerate(sizes)
  ]
  result = [np.array([units.node(each) for each in row]) for row in common]
  rest: list[int] = []
  for position, number in zip(np.ndindex(*sizes), inverse.reshape(-1), strict=True):
    known = frozenset[int]().union(
      *(row[index] for row, index in zip(common, position, strict=True))
    )
    rest.append(units.node(members[number] - known))
  if any(node != STAYS for node in rest):
    fresh = [
      units.fresh((*key, number), size) if size > 1 else np.full(1, STAYS)
      for number, size in enumerate(sizes)
    ]
    every = units.together(*np.ix_(*fresh)).reshape(-1)
    units.unite(np.array(rest), every, "an axis is cut up in two ways")
    result = [units.together(*pair) for pair in zip(result, fresh, strict=True)]
  return result


def _intersection(
  members: Sequence[frozenset[int]], numbers: Sequence[int]
) -> frozenset[int]:
  result = members[numbers[0]]
  for number in numbers[1:]:
    result &= members[number]
    if not result:
      break
  return result


def kept(units: Units, axis: Axis) -> Positions:
  """The positions that are kept."""
  return np.flatnonzero(~units.gone(axis.labels))


def kept_shape(units: Units, axes: Sequence[Axis]) -> tuple[int, ...]:
  """How many positions of each axis are kept."""
  return tuple(len(kept(units, axis)) for axis in axes)


def take(array: Any, axis: int, positions: Positions) -> Any:
  """Some positions of an axis, as a slice where they are one."""
  n, m = array.shape[axis], len(positions)
  if m == n and np.array_equal(positions, np.arange(n)):
    return array
  if m and np.array_equal(positions, np.arange(positions[0], positions[0] + m)):
    first = int(positions[0])
    return lax.slice_in_dim(array, first, first + m, axis=axis)
  return jnp.take(array, positions, axis=axis, mode="clip")


def take_kept(units: Units, array: Any, axes: Sequence[Axis]) -> Any:
  """The positions kept of a whole array."""
  for number, axis in enumerate(axes):
    array = take(array, number, kept(units, axis))
  return array
