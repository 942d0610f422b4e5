"""Axes cut into equal pieces."""

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec


def cut_axes(array: jax.Array, lengths: Sequence[int]) -> jax.Array:
  """Each axis as two: the number of the piece, and the place within it.

  Args:
    array: of any shape.
    lengths: of a piece, for each axis.

  Returns:
    An array of twice as many axes.
  """
  shape = [
    n
    for size, length in zip(array.shape, lengths, strict=True)
    for n in (size // length, length)
  ]
  sharding = jax.typeof(array).sharding
  mesh = sharding.mesh
  if mesh.empty or not mesh.are_all_axes_explicit:
    return array.reshape(shape)
  # Where a piece would lie on two devices, the axis cannot be split over them.
  axes = [
    names if pieces % _devices(mesh, names) == 0 else None
    for names, pieces in zip(sharding.spec, shape[::2], strict=True)
  ]
  array = jax.sharding.reshard(array, NamedSharding(mesh, PartitionSpec(*axes)))
  in_pieces = [names for each in axes for names in (each, None)]
  out = NamedSharding(mesh, PartitionSpec(*in_pieces))
  return jnp.reshape(array, shape, out_sharding=out)


def join_axes(pieces: jax.Array, shape: Sequence[int]) -> jax.Array:
  """The reverse of `cut_axes`."""
  sharding = jax.typeof(pieces).sharding
  mesh = sharding.mesh
  if mesh.empty or not mesh.are_all_axes_explicit:
    return pieces.reshape(shape)
  axes = PartitionSpec(*sharding.spec[::2])
  return jnp.reshape(pieces, shape, out_sharding=NamedSharding(mesh, axes))


def _devices(mesh: Any, names: Any) -> int:
  """Over how many devices an axis is split."""
  each = (names,) if isinstance(names, str) else names or ()
  return math.prod(mesh.shape[name] for name in each)


def is_whole(n: Any) -> TypeGuard[int]:
  """Whether something is a whole number."""
  return isinstance(n, int | np.integer) and not isinstance(n, bool)


def check_divides(
  name: str, path: str, shape: Sequence[int], axis: int, n: int
) -> None:
  """Raises a ValueError if an axis cannot be cut into pieces of n."""
  if not -len(shape) <= axis < len(shape):
    raise ValueError(
      f"{name} needs an axis {axis}, which {path!r} of shape {tuple(shape)} has not:"
      " leave it out with `prunable`."
    )
  if shape[axis] % n:
    raise ValueError(
      f"{name} cannot cut axis {axis} of {path!r}, of shape {tuple(shape)}, into pieces"
      f" of {n}: leave it out with `prunable`."
    )
