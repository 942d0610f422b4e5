"""Primitives that take some of the positions, or put several arrays in a row."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Rule, Step
from gsm_optax._shrink._axes import kept, take, united
from gsm_optax._shrink._bind import bind, computed, run_as_it_is
from gsm_optax._shrink._shapes import axes_of, moved
from gsm_optax._shrink._values import Axis, Uniform, Value, joined, spoilt_by, staying


def _slice(_: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key) -> Step:
  params, axes = eqn.params, axes_of(ins[0])
  strides = params["strides"] or [1] * len(axes)
  bounds = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
  return moved(
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
    axes = axes_of(ins[0])
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
  along, parts = eqn.params["dimension"], [axes_of(value) for value in ins]
  axes: list[Axis] = []
  for number in range(len(parts[0])):
    each = [part[number] for part in parts]
    if number == along:
      labels = np.concatenate([axis.labels for axis in each])
      axes.append(Axis(labels, joined([axis.uniform for axis in each])))
    else:
      axes.append(_alike(analysis, each))
  return _together(eqn, ins, key, axes)


def _alike(analysis: Analysis, axes: Sequence[Axis]) -> Axis:
  """An axis that several arrays have, of which each position goes in all of them."""
  labels = united(analysis.units, axes)
  return Axis(labels, reduce(Uniform.and_also, [axis.uniform for axis in axes]))


def _together(
  eqn: core.JaxprEqn, ins: Sequence[Value], key: Key, axes: Sequence[Axis]
) -> Step:
  """Of a primitive whose result holds the elements of several arrays."""
  whole = reduce(Uniform.and_also, [value.whole for value in ins])
  out = Value(tuple(axes), whole, ins[0].dtype, computed(eqn, ins), spoilt_by(ins))
  return Step(key, eqn, ins, [out], [])


def _stack(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  along, parts = eqn.params["axis"], [axes_of(value) for value in ins]
  axes = [_alike(analysis, each) for each in zip(*parts, strict=True)]
  new = analysis.units.fresh((*key, along), len(ins))
  axes.insert(along, Axis(new, joined([value.whole for value in ins])))
  # Each position of the new axis is an argument, and stays.
  analysis.units.fix(new, "stacked")
  return _together(eqn, ins, key, axes)


def _unstack(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  (value,), along = ins, eqn.params["axis"]
  value.fix(analysis.units, "unstacked", [along])
  axes = axes_of(value)
  each = value.spread(along)
  del axes[along]
  outs = [
    replace(value, axes=tuple(axes), whole=each.at([number]), array=None)
    for number in range(len(eqn.outvars))
  ]
  return Step(key, eqn, ins, outs, [])


def _pad(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  value, padding = ins
  axes: list[Axis] = []
  padded = [
    number for number, each in enumerate(eqn.params["padding_config"]) if any(each)
  ]
  for number, (low, high, inner) in enumerate(eqn.params["padding_config"]):
    axis = value.axis(number)
    others = [other for other in padded if other != number]
    if others:  # the padding of other axes runs through each slice
      known_there = axis.uniform.known & padding.whole.known
      same = known_there & (axis.uniform.value == padding.whole.value)
      axis = Axis(axis.labels, Uniform(same, np.where(same, axis.uniform.value, 0.0)))
    if inner or low < 0 or high < 0:
      value.fix(analysis.units, "padded between positions", [number])
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
  "slice": Rule(_slice, _run_slice),
  "split": Rule(_split, _run_split),
  "concatenate": Rule(_concatenate, run_as_it_is),
  "stack": Rule(_stack, run_as_it_is),
  "unstack": Rule(_unstack, run_as_it_is),
  "pad": Rule(_pad, _run_pad),
}
