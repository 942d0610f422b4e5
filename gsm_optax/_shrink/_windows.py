"""Primitives along some axes, whose positions must stay, that pass on the others."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Rule, Step
from gsm_optax._shrink._axes import kept_shape, united
from gsm_optax._shrink._calls import unchanged
from gsm_optax._shrink._elementwise import bind, computed
from gsm_optax._shrink._values import Axis, Uniform, Value, staying, unknown

KEEPS = frozenset(
  [
    *("reduce_max", "reduce_min", "reduce_and", "reduce_or", "reduce_window_max"),
    *("reduce_window_min", "sort", "top_k", "cummax", "cummin"),
  ]
)
"""What makes of equal values the same value."""

ZEROS = frozenset(["reduce_prod", "cumsum", "cumprod", "reduce_window_sum"])
"""What makes zeros of zeros."""


def _passed(eqn: core.JaxprEqn, uniform: Uniform, shape: Sequence[int]) -> Uniform:
  """Of a slice that the primitive stays within."""
  name = eqn.primitive.name
  if name == "reduce_window_sum":
    return uniform.only_zeros()
  # Of no elements it is none of theirs: 1, or an infinity.
  if (name in KEEPS and not _empty_windows(eqn.params)) and 0 not in shape:
    return uniform
  if name in ZEROS and 0 not in shape:
    return uniform.only_zeros()
  return unknown(uniform.known.shape[1])


def _empty_windows(params: Any) -> bool:
  """Whether a window may hold nothing but padding."""
  if "window_dimensions" not in params:
    return False
  dilations = (*params["base_dilation"], *params["window_dilation"])
  windows = zip(params["window_dimensions"], params["padding"], strict=True)
  return any(n != 1 for n in dilations) or any(max(each) >= n for n, each in windows)


def _along(eqn: core.JaxprEqn, rank: int) -> set[int]:
  """The axes whose positions come together."""
  params = eqn.params
  if "window_dimensions" in params:
    windows = zip(
      *(params[f"window_{name}"] for name in ("dimensions", "strides", "dilation")),
      *(params["padding"], params["base_dilation"]),
      strict=True,
    )
    return {i for i, each in enumerate(windows) if each != (1, 1, 1, (0, 0), 1)}
  if "axes" in params:
    return set(params["axes"])
  axis = params.get("axis", params.get("dimension", params.get("operand_axis")))
  return {rank - 1 if axis is None else axis % rank}


def _analyse(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  name = eqn.primitive.name
  arrays = [value for value in ins if value.axes]
  along = _along(eqn, len(arrays[0].axes))
  for value in arrays:
    value.fixed(analysis.units, name, sorted(along))
  drops = name.startswith(("reduce_", "arg")) and "window" not in name
  outs: list[Value] = []
  for number, var in enumerate(eqn.outvars):
    aval: Any = var.aval
    own = arrays[min(number, len(arrays) - 1)]
    axes: list[Axis] = []
    sizes = iter(aval.shape)
    for axis in range(len(own.axes)):
      if axis in along:
        n = 0 if drops else next(sizes)
        labels = analysis.units.staying(n, name)
        axes += [] if drops else [Axis(labels, unknown(n))]
        continue
      next(sizes)
      labels = united(analysis.units, [value.axes[axis] for value in arrays], name)
      indices = name.startswith("arg") or (name == "top_k" and number)
      uniform = own.uniform(axis)
      uniform = unknown(len(labels)) if indices else _passed(eqn, uniform, own.shape)
      axes.append(Axis(labels, uniform))
    spoilt = own.spoilt or (name if name not in KEEPS | ZEROS else "")
    array = computed(eqn, ins) if len(eqn.outvars) == 1 else None
    outs.append(Value(tuple(axes), unknown(1), aval.dtype, array, spoilt))
  return Step(key, eqn, ins, outs, [])


def _run(_: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  results = bind(step.eqn, arrays)
  return results if step.eqn.primitive.multiple_results else [results]


def _fixed(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  """Of a primitive of which nothing is known here: nothing may go."""
  reason = f"no rule for {eqn.primitive.name}"
  for value in ins:
    value.fixed(analysis.units, reason)
  outs: list[Value] = []
  for var in eqn.outvars:
    aval: Any = var.aval
    shape = getattr(aval, "shape", ())
    axes = tuple(Axis(analysis.units.staying(n, reason), unknown(n)) for n in shape)
    dtype = getattr(aval, "dtype", None)
    outs.append(Value(axes, unknown(1), dtype, None, eqn.primitive.name))
  return Step(key, eqn, ins, outs, [])


# Indices that come with the data.


def _gather(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  operand, indices = ins
  numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
  batching = numbers.operand_batching_dims
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
  operand.fixed(
    analysis.units,
    "looked up by an index",
    [i for i in range(len(operand.axes)) if i not in whole and i not in batching],
  )
  aval: Any = eqn.outvars[0].aval
  axes = [staying(n) for n in aval.shape]
  # Beyond the bounds there may be another number: NaN is no zero either way.
  filled = eqn.params["mode"] == lax.GatherScatterMode.FILL_OR_DROP and (
    eqn.params["fill_value"] is not None
    or not jnp.issubdtype(operand.dtype, jnp.inexact)
  )
  for number, i in zip(numbers.offset_dims, through, strict=True):
    if i in whole:
      uniform = unknown(len(operand.axes[i])) if filled else operand.uniform(i)
      axes[number] = Axis(operand.axes[i].labels, uniform)
  rest = [i for i in range(len(axes)) if i not in numbers.offset_dims]
  indices.fixed(analysis.units, "an index", [len(indices.axes) - 1])
  for number, i in zip(rest, range(len(indices.axes) - 1), strict=True):
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
      axes.append(Axis(operand.axes[number].labels, operand.uniform(number)))
    else:
      operand.fixed(analysis.units, "looked up by an index", [number])
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
      operand.fixed(analysis.units, "updated by an index", [number])
      update.fixed(analysis.units, "updated by an index", [number])
      axes.append(staying(len(old)))
  whole = operand.whole.and_also(update.whole)
  spoilt = operand.spoilt or update.spoilt
  out = Value(tuple(axes), whole, operand.dtype, computed(eqn, ins), spoilt)
  return Step(key, eqn, ins, [out], [])


RULES = {
  **{
    name: Rule(_analyse, _run)
    for name in (
      *KEEPS,
      *ZEROS,
      *("argmax", "argmin", "cumlogsumexp", "reduce_xor"),
    )
  },
  "gather": Rule(_gather, _run_gather),
  "dynamic_slice": Rule(_dynamic_slice, _run_dynamic_slice),
  "dynamic_update_slice": Rule(_dynamic_update_slice, _run),
  "": Rule(_fixed, lambda _, step, arrays: unchanged(step, arrays)),
}
