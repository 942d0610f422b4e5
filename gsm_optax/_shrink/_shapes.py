"""Primitives that give positions other axes, and compute nothing."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jax import lax
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Rule, Step
from gsm_optax._shrink._axes import (
  kept_shape,
  merge,
  split,
  take_kept,
)
from gsm_optax._shrink._bind import bind, computed, run_as_it_is
from gsm_optax._shrink._values import (
  Axis,
  Uniform,
  Value,
  known,
  staying,
  unknown,
)


def axes_of(value: Value) -> list[Axis]:
  return [value.axis(number) for number in range(len(value.axes))]


def moved(
  key: Key, eqn: core.JaxprEqn, ins: Sequence[Value], axes: Sequence[Axis]
) -> Step:
  """Of a primitive with one result, whose numbers are those of its first argument."""
  first = ins[0]
  out = replace(first, axes=tuple(axes), array=computed(eqn, ins))
  return Step(key, eqn, ins, [out], [])


# The same axes in another order.


def _transpose(_: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key) -> Step:
  axes = axes_of(ins[0])
  return moved(key, eqn, ins, [axes[i] for i in eqn.params["permutation"]])


def _squeeze(_: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key) -> Step:
  dropped = eqn.params["dimensions"]
  axes = [axis for i, axis in enumerate(axes_of(ins[0])) if i not in dropped]
  return moved(key, eqn, ins, axes)


def _rev(_: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key) -> Step:
  turned = eqn.params["dimensions"]
  axes = [
    axis.at(slice(None, None, -1)) if i in turned else axis
    for i, axis in enumerate(axes_of(ins[0]))
  ]
  return moved(key, eqn, ins, axes)


# Axes that are merged and split.


def _factors(
  before: Sequence[int], after: Sequence[int]
) -> list[tuple[list[int], list[int]]]:
  """The fewest axes before and after that hold the same elements, in turn."""
  result: list[tuple[list[int], list[int]]] = []
  i = j = 0
  while i < len(before) or j < len(after):
    old, new = (
      list(range(i, min(i + 1, len(before)))),
      list(range(j, min(j + 1, len(after)))),
    )
    i, j = i + len(old), j + len(new)
    while (m := math.prod(before[k] for k in old)) != (
      n := math.prod(after[k] for k in new)
    ):
      if m < n:
        old.append(i)
        i += 1
      else:
        new.append(j)
        j += 1
    result.append((old, new))
  return result


def _reshape(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  (value, *_), axes = ins, axes_of(ins[0])
  sizes = eqn.params["new_sizes"]
  result: list[Axis] = []
  if 0 in value.shape:
    result = [staying(n) for n in sizes]
  else:
    for old, new in _factors(value.shape, sizes):
      one = merge(analysis.units, [axes[i] for i in old])
      where = (*key, old[0] if old else "")
      result += split(analysis.units, one, [sizes[j] for j in new], where)
  return moved(key, eqn, ins, result)


def _run_reshape(evaluation: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  shape = kept_shape(evaluation.units, step.outs[0].axes)
  return [lax.reshape(arrays[0], shape)]


def _broadcast(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  value, shape = ins[0], eqn.params["shape"]
  axes: list[Axis] = []
  where = eqn.params["broadcast_dimensions"]
  own = axes_of(value)
  for number, n in enumerate(shape):
    if number in where and len(own[where.index(number)]) == n:
      axes.append(own[where.index(number)])
      continue
    uniform = value.spread(where.index(number)) if number in where else value.whole
    axes.append(copies(analysis, uniform, n, (*key, number)))
  return moved(key, eqn, ins, axes)


def copies(analysis: Analysis, uniform: Uniform, n: int, key: Key) -> Axis:
  """An axis along which all is the same."""
  wide = Uniform(np.repeat(uniform.known, n, 1), np.repeat(uniform.value, n, 1))
  return Axis(analysis.units.fresh(key, n), wide)


def _run_broadcast(evaluation: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  shape = kept_shape(evaluation.units, step.outs[0].axes)
  where = step.eqn.params["broadcast_dimensions"]
  return [lax.broadcast_in_dim(arrays[0], shape, where)]


def _tile(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  axes = axes_of(ins[0])
  for number, n in enumerate(eqn.params["reps"]):
    axis = axes[number]
    if n != 1:
      uniform = ins[0].spread(number) if len(axis) == 1 else ins[0].whole
      wide = copies(analysis, uniform, n, (*key, number))
      axes[number] = merge(analysis.units, [wide, axis])
  return moved(key, eqn, ins, axes)


def _run_tile(evaluation: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  shape = kept_shape(evaluation.units, step.outs[0].axes)
  reps = [n // max(m, 1) for n, m in zip(shape, arrays[0].shape, strict=True)]
  return [bind(step.eqn, arrays, reps=tuple(reps))]


def _iota(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  shape, along = eqn.params["shape"], eqn.params["dimension"]
  axes = [
    Axis(
      analysis.units.fresh((*key, number), n),
      known(np.arange(n)) if number == along else unknown(n),
    )
    for number, n in enumerate(shape)
  ]
  out = Value(tuple(axes), unknown(1), eqn.params["dtype"], computed(eqn, ins))
  return Step(key, eqn, ins, [out], [])


def _run_iota(evaluation: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  return [take_kept(evaluation.units, bind(step.eqn, arrays), step.outs[0].axes)]


RULES = {
  "transpose": Rule(_transpose, run_as_it_is),
  "squeeze": Rule(_squeeze, run_as_it_is),
  "rev": Rule(_rev, run_as_it_is),
  "reshape": Rule(_reshape, _run_reshape),
  "broadcast_in_dim": Rule(_broadcast, _run_broadcast),
  "tile": Rule(_tile, _run_tile),
  "iota": Rule(_iota, _run_iota),
}
