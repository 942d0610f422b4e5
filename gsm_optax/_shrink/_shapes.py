"""Primitives that move positions, and compute nothing."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from jax import lax
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Rule, Step
from gsm_optax._shrink._axes import (
  kept,
  kept_shape,
  merge,
  split,
  take,
  take_kept,
)
from gsm_optax._shrink._elementwise import bind, computed
from gsm_optax._shrink._values import (
  Axis,
  Uniform,
  Value,
  joined,
  known,
  staying,
  unknown,
)

OTHERWISE = "tied to what is cut up otherwise"


def _axes(value: Value) -> list[Axis]:
  return [
    Axis(axis.labels, value.uniform(number)) for number, axis in enumerate(value.axes)
  ]


def _step(
  key: Key, eqn: core.JaxprEqn, ins: Sequence[Value], axes: Sequence[Axis]
) -> Step:
  """Of a primitive with one result, whose numbers are those of its first argument."""
  first = ins[0]
  out = replace(first, axes=tuple(axes), array=computed(eqn, ins))
  return Step(key, eqn, ins, [out], [])


def _run(_: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  return [bind(step.eqn, arrays)]


# The same axes in another order.


def _transpose(_: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key) -> Step:
  axes = _axes(ins[0])
  return _step(key, eqn, ins, [axes[i] for i in eqn.params["permutation"]])


def _squeeze(_: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key) -> Step:
  dropped = eqn.params["dimensions"]
  axes = [axis for i, axis in enumerate(_axes(ins[0])) if i not in dropped]
  return _step(key, eqn, ins, axes)


def _rev(_: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key) -> Step:
  turned = eqn.params["dimensions"]
  axes = [
    axis.at(slice(None, None, -1)) if i in turned else axis
    for i, axis in enumerate(_axes(ins[0]))
  ]
  return _step(key, eqn, ins, axes)


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
  (value, *_), axes = ins, _axes(ins[0])
  sizes = eqn.params["new_sizes"]
  result: list[Axis] = []
  if 0 in value.shape:
    result = [staying(n) for n in sizes]
  else:
    for old, new in _factors(value.shape, sizes):
      one = merge(analysis.units, [axes[i] for i in old])
      where = (*key, old[0] if old else "")
      result += split(analysis.units, one, [sizes[j] for j in new], where)
  return _step(key, eqn, ins, result)


def _run_reshape(evaluation: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  shape = kept_shape(evaluation.units, step.outs[0].axes)
  return [lax.reshape(arrays[0], shape)]


def _broadcast(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  value, shape = ins[0], eqn.params["shape"]
  axes: list[Axis] = []
  where = eqn.params["broadcast_dimensions"]
  own = _axes(value)
  for number, n in enumerate(shape):
    if number in where and len(own[where.index(number)]) == n:
      axes.append(own[where.index(number)])
      continue
    uniform = value.spread(where.index(number)) if number in where else value.whole
    axes.append(_copies(analysis, uniform, n, (*key, number)))
  return _step(key, eqn, ins, axes)


def _copies(analysis: Analysis, uniform: Uniform, n: int, key: Key) -> Axis:
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
  axes = _axes(ins[0])
  for number, n in enumerate(eqn.params["reps"]):
    axis = axes[number]
    if n != 1:
      uniform = ins[0].spread(number) if len(axis) == 1 else ins[0].whole
      copies = _copies(analysis, uniform, n, (*key, number))
      axes[number] = merge(analysis.units, [copies, axis])
  return _step(key, eqn, ins, axes)


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


# Some of the positions, and several arrays in a row.


def _slice(_: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key) -> Step:
  params, axes = eqn.params, _axes(ins[0])
  strides = params["strides"] or [1] * len(axes)
  bounds = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
  return _step(
    key,
    eqn,
    ins,
    [axis.at(slice(*each)) for axis, each in zip(axes, bounds, strict=True)],
  )


def _run_slice(evaluation: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  params, array = step.eqn.params, arrays[0]
  strides = params["strides"] or [1] * array.ndim
  bounds = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
  for number, each in enumerate(bounds):
    array = _part(evaluation, step, array, number, slice(*each))
  return [array]


def _part(
  evaluation: Any, step: Step, array: Any, number: int, positions: slice
) -> Any:
  """The positions kept among some of an axis of the first argument."""
  axis = step.ins[0].axes[number]
  own = kept(evaluation.units, axis)
  wanted = np.intersect1d(own, np.arange(len(axis))[positions])
  return take(array, number, np.searchsorted(own, wanted))


def _split(_: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key) -> Step:
  along, outs = eqn.params["axis"], []
  begin = 0
  for size in eqn.params["sizes"]:
    axes = _axes(ins[0])
    axes[along] = axes[along].at(slice(begin, begin + size))
    outs.append(replace(ins[0], axes=tuple(axes), array=None))
    begin += size
  return Step(key, eqn, ins, outs, [])


def _run_split(evaluation: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  along, result, begin = step.eqn.params["axis"], [], 0
  for size in step.eqn.params["sizes"]:
    part = slice(begin, begin + size)
    result.append(_part(evaluation, step, arrays[0], along, part))
    begin += size
  return result


def _concatenate(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  along, parts = eqn.params["dimension"], [_axes(value) for value in ins]
  axes: list[Axis] = []
  for number in range(len(parts[0])):
    each = [part[number] for part in parts]
    if number == along:
      labels = np.concatenate([axis.labels for axis in each])
      axes.append(Axis(labels, joined([axis.uniform for axis in each])))
    else:
      labels = reduce(
        lambda a, b: analysis.units.unite(a, b, OTHERWISE), [a.labels for a in each]
      )
      axes.append(Axis(labels, reduce(Uniform.and_also, [a.uniform for a in each])))
  whole = reduce(Uniform.and_also, [value.whole for value in ins])
  spoilt = next((value.spoilt for value in ins if value.spoilt), "")
  out = Value(tuple(axes), whole, ins[0].dtype, computed(eqn, ins), spoilt)
  return Step(key, eqn, ins, [out], [])


def _stack(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  along, parts = eqn.params["axis"], [_axes(value) for value in ins]
  axes: list[Axis] = []
  for each in zip(*parts, strict=True):
    labels = reduce(
      lambda a, b: analysis.units.unite(a, b, OTHERWISE), [a.labels for a in each]
    )
    axes.append(Axis(labels, reduce(Uniform.and_also, [a.uniform for a in each])))
  new = analysis.units.fresh((*key, along), len(ins))
  axes.insert(along, Axis(new, joined([value.whole for value in ins])))
  # Each position of the new axis is an argument, and stays.
  analysis.units.fix(new, "stacked")
  whole = reduce(Uniform.and_also, [value.whole for value in ins])
  spoilt = next((value.spoilt for value in ins if value.spoilt), "")
  out = Value(tuple(axes), whole, ins[0].dtype, computed(eqn, ins), spoilt)
  return Step(key, eqn, ins, [out], [])


def _unstack(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  (value,), along = ins, eqn.params["axis"]
  value.fixed(analysis.units, "unstacked", [along])
  axes = _axes(value)
  each = value.spread(along)
  del axes[along]
  outs = [
    replace(value, axes=tuple(axes), whole=each.at([number]), array=None)
    for number in range(len(eqn.outvars))
  ]
  return Step(key, eqn, ins, outs, [])


def _run_unstack(_: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  return bind(step.eqn, arrays)


def _pad(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  value, padding = ins
  axes: list[Axis] = []
  padded = [
    number for number, each in enumerate(eqn.params["padding_config"]) if any(each)
  ]
  for number, (low, high, inner) in enumerate(eqn.params["padding_config"]):
    axis = Axis(value.axes[number].labels, value.uniform(number))
    others = [other for other in padded if other != number]
    if others:  # the padding of other axes runs through each slice
      known_there = axis.uniform.known & padding.whole.known
      same = known_there & (axis.uniform.value == padding.whole.value)
      axis = Axis(axis.labels, Uniform(same, np.where(same, axis.uniform.value, 0.0)))
    if inner or low < 0 or high < 0:
      value.fixed(analysis.units, "padded between positions", [number])
      axis = staying(len(axis) + low + high + max(len(axis) - 1, 0) * inner)
    elif low or high:
      ends = [
        Axis(
          analysis.units.fresh((*key, number, end), n),
          Uniform(
            np.repeat(padding.whole.known, n, 1), np.repeat(padding.whole.value, n, 1)
          ),
        )
        for end, n in enumerate((low, high))
      ]
      three = [ends[0], axis, ends[1]]
      labels = np.concatenate([each.labels for each in three])
      axis = Axis(labels, joined([each.uniform for each in three]))
    axes.append(axis)
  whole = value.whole.and_also(padding.whole)
  out = Value(tuple(axes), whole, value.dtype, computed(eqn, ins), value.spoilt)
  return Step(key, eqn, ins, [out], [])


def _run_pad(evaluation: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  config: list[tuple[int, int, int]] = []
  for axis, each in zip(
    step.outs[0].axes, step.eqn.params["padding_config"], strict=True
  ):
    low, high, inner = each
    if not inner and low >= 0 and high >= 0:
      stay = ~evaluation.units.gone(axis.labels)
      low, high = int(stay[:low].sum()), int(stay[len(axis) - high :].sum())
    config.append((low, high, inner))
  return [bind(step.eqn, arrays, padding_config=tuple(config))]


RULES = {
  "transpose": Rule(_transpose, _run),
  "squeeze": Rule(_squeeze, _run),
  "rev": Rule(_rev, _run),
  "reshape": Rule(_reshape, _run_reshape),
  "broadcast_in_dim": Rule(_broadcast, _run_broadcast),
  "tile": Rule(_tile, _run_tile),
  "iota": Rule(_iota, _run_iota),
  "slice": Rule(_slice, _run_slice),
  "split": Rule(_split, _run_split),
  "concatenate": Rule(_concatenate, _run),
  "stack": Rule(_stack, _run),
  "unstack": Rule(_unstack, _run_unstack),
  "pad": Rule(_pad, _run_pad),
}
