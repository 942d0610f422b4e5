"""What is known of a value: its axes' labels, and which slices are uniform."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gsm_optax._shrink._units import STAYS, Labels, Units

ZEROED, NOW = 0, 1
"""The two cases that are looked at: once the parameters of a position's units are zero,
and with the parameters as they are."""


@dataclass(frozen=True)
class Uniform:
  """Which slices have one value throughout, and which.

  Attributes:
    known: bool (2, n): in each case.
    value: float64 (2, n), where it is known.
  """

  known: npt.NDArray[np.bool_]
  value: npt.NDArray[np.float64]

  @property
  def zero(self) -> npt.NDArray[np.bool_]:
    """(2, n): whether a slice is zero."""
    return self.known & (self.value == 0)

  def at(self, positions: Any) -> "Uniform":
    """Of some positions."""
    return Uniform(self.known[:, positions], self.value[:, positions])

  def only_zeros(self) -> "Uniform":
    """Without the values that are not zero."""
    return Uniform(self.zero, np.zeros_like(self.value))

  def if_else(self, condition: npt.NDArray[np.bool_], other: "Uniform") -> "Uniform":
    """This one where the condition holds, the other elsewhere."""
    return Uniform(
      np.where(condition, self.known, other.known),
      np.where(condition, self.value, other.value),
    )

  def or_else(self, other: "Uniform") -> "Uniform":
    """This one where it is known, the other elsewhere."""
    return self.if_else(self.known, other)

  def and_also(self, other: "Uniform") -> "Uniform":
    """What both know and agree on."""
    same = self.known & other.known & (self.value == other.value)
    return Uniform(same, np.where(same, self.value, 0.0))


def unknown(n: int) -> Uniform:
  """Nothing is known of n slices."""
  return Uniform(np.zeros((2, n), bool), np.zeros((2, n)))


def known(values: npt.ArrayLike) -> Uniform:
  """Values (n,) that do not change when units are zeroed."""
  both = np.broadcast_to(np.asarray(values, np.float64), (2, *np.shape(values)))
  return Uniform(np.ones(both.shape, bool), both)


def held(values: npt.ArrayLike, dtype: Any) -> npt.NDArray[np.bool_]:
  """Which numbers are finite, and not rounded by float64 (integers are, from 2**53)."""
  values = np.asarray(values)
  limit = 2.0**53 if jnp.issubdtype(dtype, jnp.integer) else np.inf
  return np.abs(values.astype(np.float64)) < limit


def joined(parts: Sequence[Uniform]) -> Uniform:
  """One after the other."""
  return Uniform(
    np.concatenate([part.known for part in parts], 1),
    np.concatenate([part.value for part in parts], 1),
  )


@dataclass(frozen=True)
class Axis:
  """The positions of one axis of a value.

  Attributes:
    labels: (n,), nodes of `Units`.
    uniform: what is known of the slice at each position by itself, see `Value.axis`.
  """

  labels: Labels
  uniform: Uniform

  def __len__(self) -> int:
    return len(self.labels)

  def at(self, positions: Any) -> "Axis":
    """Some of the positions."""
    return Axis(self.labels[positions], self.uniform.at(positions))


def staying(n: int, uniform: Uniform | None = None) -> Axis:
  """An axis of n positions that all stay."""
  return Axis(np.full(n, STAYS), unknown(n) if uniform is None else uniform)


@dataclass(frozen=True)
class Value:
  """An array of the function, without its numbers.

  Attributes:
    axes: in their order.
    whole: (2, 1): of the array as one slice.
    dtype: of the array.
    array: computes it, if nothing but parameters and constants goes into it.
    spoilt: the primitive because of which it is not zero once its units are zeroed;
      for the reasons that users are told.
  """

  axes: tuple[Axis, ...]
  whole: Uniform
  dtype: Any
  array: Callable[[], Any] | None = field(default=None, compare=False)
  spoilt: str = ""

  @property
  def shape(self) -> tuple[int, ...]:
    """Before anything is removed."""
    return tuple(len(axis) for axis in self.axes)

  def axis(self, number: int) -> Axis:
    """An axis, with what is known of the whole too."""
    return Axis(self.axes[number].labels, self.uniform(number))

  def uniform(self, axis: int) -> Uniform:
    """Of the slices along an axis, which are as the whole where that is known."""
    own = self.axes[axis].uniform
    return Uniform(
      np.broadcast_to(self.whole.known, own.known.shape),
      np.broadcast_to(self.whole.value, own.value.shape),
    ).or_else(own)

  def spread(self, axis: int) -> Uniform:
    """Of slices at new positions, at which the only slice of an axis is repeated.

    The new positions have units of their own. That the slice is zero once its unit is
    zeroed says nothing of when these are, so in that case only the whole counts.
    """
    own = self.uniform(axis)
    return self.whole.if_else(np.array([[True], [False]]), own)

  def fix(self, units: Units, reason: str, axes: Sequence[int] | None = None) -> None:
    """Lets no position of these axes go, or of any axis if they are not given."""
    for number in range(len(self.axes)) if axes is None else axes:
      units.fix(self.axes[number].labels, reason)


def spoilt_by(values: Sequence[Value]) -> str:
  """The primitive because of which the first of them that is spoilt is not zero."""
  return next((value.spoilt for value in values if value.spoilt), "")


def uniform_slices(
  array: npt.NDArray[Any], kept: Sequence[npt.NDArray[np.bool_]], axis: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
  """Which slices of an array along an axis have one value at the positions kept.

  Args:
    array: any numbers.
    kept: for each axis bool (n,).
    axis: along which to look.

  Returns:
    bool (n,) and float64 (n,).
  """
  n = array.shape[axis]
  selection = [
    np.arange(n) if number == axis else np.flatnonzero(each)
    for number, each in enumerate(kept)
  ]
  if any(len(each) < array.shape[i] for i, each in enumerate(selection)):
    array = array[np.ix_(*selection)]
  rows = np.moveaxis(array, axis, 0).reshape(n, -1)
  if not rows.shape[1]:
    return np.ones(n, bool), np.zeros(n)
  first = rows[:, 0]
  same = (rows == first[:, None]).all(1) & held(first, array.dtype)
  return same, np.where(same, first, 0).astype(np.float64)
