"""Primitives that look up or update some positions by an index from the data."""

from collections.abc import Sequence
from typing import Any

from jax import lax
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Rule, Step
from gsm_optax._shrink._axes import kept_shape
from gsm_optax._shrink._bind import bind, computed, run_as_it_is
from gsm_optax._shrink._values import Axis, Value, staying, unknown


def _gather(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  operand, indices = ins
  numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
  batching = numbers.operand_batching_dims
  # Axes that each slice takes in full, wherever it starts.
  whole = {
    i
    for i, axis in enumerate(operand.axes)
    if i not in numbers.start_index_map
    and i not in numbers.collapsed_slice_dims
    and i not in batching
    and sizes[i] == len(axis)
  }
  through = [
    i
    for i in range(len(operand.axes))
    if i not in numbers.collapsed_slice_dims and i not in batching
  ]
  operand.fix(
    analysis.units,
    "looked up by an index",
    [i for i in range(len(operand.axes)) if i not in whole and i not in batching],
  )
  aval: Any = eqn.outvars[0].aval
  axes = [staying(n) for n in aval.shape]
  # Beyond the bounds it may be another number.
  filled = eqn.params["mode"] == lax.GatherScatterMode.FILL_OR_DROP
  for number, i in zip(numbers.offset_dims, through, strict=True):
    if i in whole:
      axis = operand.axis(i)
      axes[number] = Axis(axis.labels, unknown(len(axis))) if filled else axis
  # The other axes are those of the indices, of which the last holds an index.
  rest = [i for i in range(len(axes)) if i not in numbers.offset_dims]
  indices.fix(analysis.units, "an index", [len(indices.axes) - 1])
  for i, number in enumerate(rest):
    labels = indices.axes[i].labels
    if i in numbers.start_indices_batching_dims:
      place = numbers.start_indices_batching_dims.index(i)
      other = operand.axes[batching[place]].labels
      labels = analysis.units.unite(labels, other, "looked up by an index")
    axes[number] = Axis(labels, unknown(len(labels)))
  out = Value(tuple(axes), unknown(1), aval.dtype, computed(eqn, ins), operand.spoilt)
  return Step(key, eqn, ins, [out], [])


def _run_gather(evaluation: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  sizes = step.eqn.params["slice_sizes"]
  before = step.ins[0].shape
  after = kept_shape(evaluation.units, step.ins[0].axes)
  fewer = tuple(
    m if size == n else size for size, n, m in zip(sizes, before, after, strict=True)
  )
  return [bind(step.eqn, arrays, slice_sizes=fewer)]


def _dynamic_slice(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  operand = ins[0]
  sizes = eqn.params["slice_sizes"]
  axes: list[Axis] = []
  for number, size in enumerate(sizes):
    if size == len(operand.axes[number]):
      axes.append(operand.axis(number))
    else:
      operand.fix(analysis.units, "looked up by an index", [number])
      axes.append(staying(size))
  out = Value(
    tuple(axes), operand.whole, operand.dtype, computed(eqn, ins), operand.spoilt
  )
  return Step(key, eqn, ins, [out], [])


def _run_dynamic_slice(
  evaluation: Any, step: Step, arrays: Sequence[Any]
) -> Sequence[Any]:
  sizes = kept_shape(evaluation.units, step.outs[0].axes)
  return [bind(step.eqn, arrays, slice_sizes=sizes)]


def _dynamic_update_slice(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  operand, update = ins[:2]
  axes: list[Axis] = []
  for number, (old, new) in enumerate(zip(operand.axes, update.axes, strict=True)):
    if len(old) == len(new):
      labels = analysis.units.unite(old.labels, new.labels, "updated by an index")
      uniform = operand.uniform(number).and_also(update.uniform(number))
      axes.append(Axis(labels, uniform))
    else:
      operand.fix(analysis.units, "updated by an index", [number])
      update.fix(analysis.units, "updated by an index", [number])
      axes.append(staying(len(old)))
  whole = operand.whole.and_also(update.whole)
  spoilt = operand.spoilt or update.spoilt
  out = Value(tuple(axes), whole, operand.dtype, computed(eqn, ins), spoilt)
  return Step(key, eqn, ins, [out], [])


RULES = {
  "gather": Rule(_gather, _run_gather),
  "dynamic_slice": Rule(_dynamic_slice, _run_dynamic_slice),
  "dynamic_update_slice": Rule(_dynamic_update_slice, run_as_it_is),
}
