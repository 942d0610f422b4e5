"""Whole numbers below 2**47 without 64-bit integers.

JAX computes in 32 bits by default, and a model may have more than 2**31 - 1 weights. A
`WideInt` holds a whole number in two limbs, ``high * 2**16 + low``.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_LIMB_BITS = 16
_LIMB = 1 << _LIMB_BITS
_BITS = 47


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class WideInt:
  """``high * 2**16 + low`` with ``0 <= low < 2**16``; both int32, of the same shape."""

  high: jax.Array
  low: jax.Array

  @classmethod
  def of(cls, value: "int | jax.Array | WideInt") -> "WideInt":
    """From a Python int below 2**47, or an integer array."""
    if isinstance(value, WideInt):
      return value
    if isinstance(value, int):
      return cls(jnp.int32(value >> _LIMB_BITS), jnp.int32(value & (_LIMB - 1)))
    return cls(
      (value >> _LIMB_BITS).astype(jnp.int32), (value & (_LIMB - 1)).astype(jnp.int32)
    )

  @classmethod
  def concatenate(cls, parts: "Sequence[WideInt]") -> "WideInt":
    """Joins vectors."""
    return cls(
      jnp.concatenate([part.high for part in parts]),
      jnp.concatenate([part.low for part in parts]),
    )

  @classmethod
  def where(cls, condition: jax.Array, a: "WideInt", b: "WideInt") -> "WideInt":
    """`a` where the condition holds, else `b`."""
    return cls(jnp.where(condition, a.high, b.high), jnp.where(condition, a.low, b.low))

  def __getitem__(self, index: Any) -> "WideInt":
    return WideInt(self.high[index], self.low[index])

  def __ge__(self, other: "WideInt") -> jax.Array:
    return (self.high > other.high) | (
      (self.high == other.high) & (self.low >= other.low)
    )

  def equals(self, other: "WideInt") -> jax.Array:
    """Elementwise equality."""
    return (self.high == other.high) & (self.low == other.low)

  def plus(self, other: "WideInt") -> "WideInt":
    """The sum."""
    return WideInt.carried(self.high + other.high, self.low + other.low)

  def minus(self, other: "WideInt") -> "WideInt":
    """The difference, which must not be negative."""
    return WideInt.carried(self.high - other.high, self.low - other.low)

  @classmethod
  def carried(cls, high: jax.Array, low: jax.Array) -> "WideInt":
    """From limbs, the lower of which may be negative or too large."""
    return cls(high + (low >> _LIMB_BITS), low & (_LIMB - 1))

  def __int__(self) -> int:
    """As a Python int, if the value is known."""
    return (int(self.high) << _LIMB_BITS) + int(self.low)

  def to_float(self) -> jax.Array:
    """As the nearest float32."""
    return self.high.astype(jnp.float32) * _LIMB + self.low.astype(jnp.float32)


def total(parts: Sequence[jax.Array]) -> WideInt:
  """The exact sum of up to 2**15 parts, as returned by `count_true`."""
  sum_ = WideInt.of(0)
  for part in parts:
    sum_ = sum_.plus(_sum_last_axis(part) if part.ndim else WideInt.of(part))
  return sum_


def _sum_last_axis(part: jax.Array) -> WideInt:
  # Sums of up to 2**23 8-bit digits stay below 2**31.
  digits = [
    jnp.sum((part >> shift) & 0xFF, axis=-1, dtype=jnp.int32) for shift in (0, 8)
  ]
  high = jnp.sum(part >> 16, axis=-1, dtype=jnp.int32)
  return WideInt.carried(high + (digits[0] >> 16), digits[0] & 0xFFFF).plus(
    WideInt.carried(digits[1] >> 8, (digits[1] & 0xFF) << 8)
  )


def sum_exactly(counts: jax.Array, size: int) -> WideInt:
  """Sums int32 `counts` (k, ...) to (k,); each sum counts some of `size` elements."""
  axes = range(1, counts.ndim)
  if size < 1 << 31:
    return WideInt.of(jnp.sum(counts, axis=tuple(axes), dtype=jnp.int32))
  kept = _axis_to_keep(counts.shape, size, axes)
  others = tuple(axis for axis in axes if axis != kept)
  return _sum_last_axis(jnp.sum(counts, axis=others, dtype=jnp.int32))


def count_true(mask: jax.Array) -> jax.Array:
  """The number of True: int32, as a vector of parts where a scalar could overflow."""
  if mask.size < 1 << 31:
    return jnp.sum(mask, dtype=jnp.int32)
  kept = _axis_to_keep(mask.shape, mask.size, range(mask.ndim))
  others = tuple(axis for axis in range(mask.ndim) if axis != kept)
  return jnp.sum(mask, axis=others, dtype=jnp.int32)


def _axis_to_keep(shape: tuple[int, ...], size: int, axes: Iterable[int]) -> int:
  """An axis that cuts `size` elements into parts that can be counted in 32 bits."""
  for axis in axes:
    if shape[axis] <= 1 << 23 and size // shape[axis] < 1 << 31:
      return axis
  raise ValueError(f"An array of shape {shape} is too large to be counted exactly.")


def floor_of_share(
  share: "float | np.number[Any] | jax.Array", n: int
) -> "int | WideInt":
  r"""``floor(share * n)``, exactly.

  A share such as 0.29 or 1/49 is not a binary fraction, so its product with 100 or 49
  falls just short of the intended whole number. A product within its rounding error of
  the next whole number is rounded up to it:

  .. math:: \lfloor x + \min(1/2, \varepsilon x) \rfloor, \quad x = share \cdot n

  with :math:`\varepsilon` half the machine epsilon of the share's type.

  Args:
    share: from 0 to 1; a Python number, or a floating-point scalar that may be traced.
      An array outside the range is clipped; NaN counts as 0.
    n: a Python int below 2**47.

  Returns:
    A Python int if the share is a Python number, else a `WideInt`.
  """
  if not isinstance(share, jax.Array):
    kind = share.dtype if isinstance(share, np.floating) else np.float64
    product = Fraction(float(share)) * n
    slack = product * Fraction(float(np.finfo(kind).eps)) / 2
    return math.floor(product + min(Fraction(1, 2), slack))

  info = jnp.finfo(share.dtype)
  # float16 cannot hold 2**16.
  share = share.astype(jnp.promote_types(share.dtype, jnp.float32))
  share = jnp.where(share > 0, jnp.minimum(share, 1), jnp.zeros_like(share))
  slack = jnp.minimum(0.5, share * float(n) * (float(info.eps) / 2))
  # Enough limbs for the last bit of a share of 2**-47. A share of 1, whose digits[0] is
  # 2**16, is handled apart to keep the partial products within 32 bits.
  limbs = -(-(_BITS + info.nmant + 1) // _LIMB_BITS)
  digits = _fraction_limbs(share, limbs)
  is_one = digits[0] == _LIMB
  digits[0] = jnp.where(is_one, jnp.uint32(0), digits[0])
  n_limbs = [(n >> (_LIMB_BITS * i)) & (_LIMB - 1) for i in range(3)]
  # columns[i] holds multiples of 2**(16 * (i - limbs)).
  columns = [*reversed(_fraction_limbs(slack, limbs)), *[jnp.uint32(0)] * 4]
  for i, digit in enumerate(reversed(digits)):
    for j, limb in enumerate(n_limbs):
      partial = digit * jnp.uint32(limb)
      columns[i + j] += partial & (_LIMB - 1)
      columns[i + j + 1] += partial >> _LIMB_BITS
  for i in range(len(columns) - 1):
    columns[i + 1] += columns[i] >> _LIMB_BITS
    columns[i] &= _LIMB - 1
  low, high, higher = columns[limbs : limbs + 3]
  exact = WideInt.of(n)
  return WideInt(
    jnp.where(is_one, exact.high, (high + (higher << _LIMB_BITS)).astype(jnp.int32)),
    jnp.where(is_one, exact.low, low.astype(jnp.int32)),
  )


def _fraction_limbs(value: jax.Array, limbs: int) -> list[jax.Array]:
  """The base-2**16 digits of a number from 0 to 1, most significant first.

  Multiplying a float by 2**16 and taking its fraction are both exact.
  """
  digits: list[jax.Array] = []
  for _ in range(limbs):
    value = value * _LIMB
    whole = jnp.floor(value)
    digits.append(whole.astype(jnp.uint32))
    value = value - whole
  return digits
