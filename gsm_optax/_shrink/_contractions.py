"""Primitives that sum over positions, where those that add nothing can be left out."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Candidate, Key, Part, Rule, Step
from gsm_optax._shrink._axes import kept, merge, split, take
from gsm_optax._shrink._elementwise import bind, computed
from gsm_optax._shrink._values import (
  NOW,
  ZEROED,
  Axis,
  Uniform,
  Value,
  staying,
  uniform_slices,
  unknown,
)


def _zeros(uniform: Uniform) -> Uniform:
  """A sum of products is zero where a factor is; else it is anything."""
  return uniform.only_zeros()


def _either_zero(a: Uniform, b: Uniform) -> Uniform:
  zero = a.zero | b.zero
  return Uniform(zero, np.zeros(zero.shape))


def _spoilt(ins: Sequence[Value]) -> str:
  return next((value.spoilt for value in ins if value.spoilt), "")


# Sums.


def _analyse_sum(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  (value,) = ins
  summed = eqn.params["axes"]
  for number in summed:
    analysis.contract(
      value.axes[number].labels, value.uniform(number).zero, value.spoilt
    )
  axes = [
    Axis(axis.labels, _zeros(value.uniform(number)))
    for number, axis in enumerate(value.axes)
    if number not in summed
  ]
  out = Value(
    tuple(axes), _zeros(value.whole), value.dtype, computed(eqn, ins), value.spoilt
  )
  return Step(key, eqn, ins, [out], [])


def _run_sum(_: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  return [bind(step.eqn, arrays)]


# Products.


def _joint_labels(
  analysis: Analysis, ins: Sequence[Value], numbers: Sequence[int], key: Key
) -> npt.NDArray[np.int64]:
  """The labels of a contraction's positions.

  Several positions of an activation may share a unit, as do all pixels of a channel
  that has been flattened. The rows of the matrix behind it need not: a position can be
  left out here alone, by taking the others.
  """
  units = analysis.units
  sides = [value.axes[number] for value, number in zip(ins, numbers, strict=True)]
  labels = [units.find(side.labels) for side in sides]
  for own, other in ((0, 1), (1, 0)):
    if ins[own].array is not None or ins[other].array is None:
      continue
    stays = units.stays(labels[own])
    sizes = [len(units.members(int(node))) for node in np.unique(labels[own][~stays])]
    shared = len(sizes) < (~stays).sum() or max(sizes, default=0) > 1
    shared |= units.known((*key, "taken"))  # as before, though more may stay by now
    vouched = ins[other].uniform(numbers[other]).zero[ZEROED].all()
    if shared and vouched:
      extra = units.fresh((*key, "taken"), len(labels[own]))
      joint = units.together(labels[own], extra)
      return units.unite(joint, labels[other], "cut up in two ways")
  return units.unite(labels[0], labels[1], "cut up in two ways")


def _analyse_dot(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  (contracting, batch) = eqn.params["dimension_numbers"]
  lhs, rhs = ins
  for number, (i, j) in enumerate(zip(*contracting, strict=True)):
    left, right = lhs.uniform(i), rhs.uniform(j)
    labels = _joint_labels(analysis, ins, (i, j), (*key, number))
    zero = left.zero | right.zero
    constant = None
    if len(contracting[0]) == 1:
      constant = _candidate(analysis, labels, ins, (i, j), zero, key)
    analysis.contract(labels, zero, _spoilt(ins), constant)
  axes: list[Axis] = []
  for i, j in zip(*batch, strict=True):
    labels = analysis.units.unite(
      lhs.axes[i].labels, rhs.axes[j].labels, "cut up in two ways"
    )
    axes.append(Axis(labels, _either_zero(lhs.uniform(i), rhs.uniform(j))))
  for value, own, others in zip(ins, contracting, batch, strict=True):
    axes += [
      Axis(axis.labels, _zeros(value.uniform(number)))
      for number, axis in enumerate(value.axes)
      if number not in own and number not in others
    ]
  aval: Any = eqn.outvars[0].aval
  whole = _either_zero(lhs.whole, rhs.whole)
  out = Value(tuple(axes), whole, aval.dtype, computed(eqn, ins), _spoilt(ins))
  added = _added(analysis.parts.get(key, ()), eqn)
  return Step(key, eqn, ins, [_plus(analysis, out, added)], [])


def _candidate(
  analysis: Analysis,
  labels: npt.NDArray[np.int64],
  ins: Sequence[Value],
  numbers: Sequence[int],
  zero: npt.NDArray[np.bool_],
  key: Key,
) -> npt.NDArray[np.bool_] | None:
  """Positions at which an operand is constant, and the other is of parameters alone."""
  for own, other in ((0, 1), (1, 0)):
    array = ins[other].array
    if ins[own].array is None and array is not None:
      uniform = ins[own].uniform(numbers[own])
      constant = uniform.known[NOW] & ~zero[NOW]

      def rows(
        positions: npt.NDArray[np.int64],
        array: Callable[[], Any] = array,
        axis: int = numbers[other],
      ) -> npt.NDArray[Any]:
        return np.take(np.asarray(array()), positions, axis)

      analysis.candidates[key] = Candidate(
        labels, constant, uniform.value[NOW], rows, own
      )
      return constant
  return None


def _added(parts: Sequence[Part], eqn: core.JaxprEqn) -> npt.NDArray[Any] | None:
  """What the constants of a contraction add to its result.

  It has the result's rank, with axes of one position where all are alike.
  """
  if not parts:
    return None
  with jax.ensure_compile_time_eval():
    add = _add_to_dot if eqn.primitive.name == "dot_general" else _add_to_conv
    return np.sum([np.asarray(add(part, eqn)) for part in parts], axis=0)


def _add_to_dot(part: Part, eqn: core.JaxprEqn) -> Any:
  contracting, batch = eqn.params["dimension_numbers"]
  shapes: list[Any] = [var.aval for var in eqn.invars]
  own = part.side
  constant = np.asarray(part.values)
  shape = [1] * len(shapes[own].shape)
  for number, other in zip(batch[own], batch[1 - own], strict=True):
    shape[number] = part.rows.shape[other]
  shape[contracting[own][0]] = len(constant)
  spread = [1] * len(shape)
  spread[contracting[own][0]] = len(constant)
  filled = np.broadcast_to(constant.reshape(spread), shape)
  operands = [jnp.asarray(part.rows), jnp.asarray(filled, shapes[own].dtype)]
  return bind(eqn, operands if own else operands[::-1])


def _add_to_conv(part: Part, eqn: core.JaxprEqn) -> Any:
  numbers = eqn.params["dimension_numbers"]
  image: Any = eqn.invars[0].aval
  shape = list(image.shape)
  shape[numbers.lhs_spec[0]] = 1
  shape[numbers.lhs_spec[1]] = len(part.values)
  spread = [1] * len(shape)
  spread[numbers.lhs_spec[1]] = len(part.values)
  filled = np.broadcast_to(np.asarray(part.values).reshape(spread), shape)
  return bind(eqn, [jnp.asarray(filled, image.dtype), jnp.asarray(part.rows)])


def _plus(analysis: Analysis, out: Value, added: npt.NDArray[Any] | None) -> Value:
  """The result of a contraction, to which constants are added."""
  if added is None:
    return out
  every = [np.ones(n, bool) for n in added.shape]
  keeps = [
    ~analysis.units.gone(axis.labels) if n > 1 else ones
    for axis, n, ones in zip(out.axes, added.shape, every, strict=True)
  ]
  axes: list[Axis] = []
  for number, axis in enumerate(out.axes):
    same, value = uniform_slices(added, keeps, number)
    known, values = axis.uniform.known.copy(), axis.uniform.value.copy()
    known[NOW] &= same
    values[NOW] = np.where(known[NOW], value, 0.0)
    axes.append(Axis(axis.labels, Uniform(known, values)))
  whole = unknown(1)
  whole.known[ZEROED], whole.value[ZEROED] = out.whole.known[ZEROED], 0.0
  return Value(tuple(axes), whole, out.dtype, None, out.spoilt)


def _run_dot(evaluation: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  units = evaluation.units
  (contracting, _) = step.eqn.params["dimension_numbers"]
  arrays = list(arrays)
  for i, j in zip(*contracting, strict=True):
    sides = [step.ins[0].axes[i], step.ins[1].axes[j]]
    keeps = [kept(units, side) for side in sides]
    for own, number in ((0, i), (1, j)):
      fewer = keeps[1 - own]
      if len(keeps[own]) > len(fewer):
        positions = np.searchsorted(keeps[own], fewer)
        arrays[own] = take(arrays[own], number, positions)
  return [_with_added(evaluation, step, bind(step.eqn, arrays))]


def _with_added(evaluation: Any, step: Step, result: Any) -> Any:
  added = _added(evaluation.parts.get(step.key, ()), step.eqn)
  if added is None:
    return result
  for number, axis in enumerate(step.outs[0].axes):
    if added.shape[number] > 1:
      added = np.take(added, kept(evaluation.units, axis), number)
  return result + jnp.asarray(added, result.dtype)


# Convolutions.


def _analyse_conv(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  image, kernel = ins
  units, params = analysis.units, eqn.params
  lhs, rhs, out = params["dimension_numbers"]
  image.fixed(units, "pixels of a convolution", lhs[2:])
  kernel.fixed(units, "pixels of a convolution", rhs[2:])
  groups = params["feature_group_count"]
  aval: Any = eqn.outvars[0].aval
  into = Axis(image.axes[lhs[1]].labels, image.uniform(lhs[1]))
  each = Axis(kernel.axes[rhs[1]].labels, kernel.uniform(rhs[1]))
  outof = Axis(kernel.axes[rhs[0]].labels, kernel.uniform(rhs[0]))
  batch = Axis(image.axes[lhs[0]].labels, _zeros(image.uniform(lhs[0])))
  if params["batch_group_count"] > 1:
    for value in ins:
      value.fixed(units, "a convolution with batch groups")
    batch, channels = (staying(aval.shape[out[number]]) for number in (0, 1))
  elif groups == 1:
    labels = _joint_labels(analysis, ins, (lhs[1], rhs[1]), (*key, 0))
    zero = into.uniform.zero | each.uniform.zero
    constant = _candidate(analysis, labels, ins, (lhs[1], rhs[1]), zero, key)
    if ins[0].array is not None:
      constant = None
    analysis.contract(labels, zero, _spoilt(ins), constant)
    channels = Axis(outof.labels, _zeros(outof.uniform))
  else:
    channels = _groups(analysis, groups, into, each, outof, _spoilt(ins), key)
  axes = [staying(n) for n in aval.shape]
  axes[out[0]], axes[out[1]] = batch, channels
  whole = _either_zero(image.whole, kernel.whole)
  result = Value(tuple(axes), whole, aval.dtype, computed(eqn, ins), _spoilt(ins))
  added = _added(analysis.parts.get(key, ()), eqn)
  return Step(key, eqn, ins, [_plus(analysis, result, added)], [])


def _groups(
  analysis: Analysis,
  groups: int,
  into: Axis,
  each: Axis,
  outof: Axis,
  spoilt: str,
  key: Key,
) -> Axis:
  """The channels that come out of a convolution whose groups go as a whole."""
  units = analysis.units
  group, inner = split(units, into, (groups, len(each)), (*key, "in"))
  outer, rest = split(units, outof, (groups, len(outof) // groups), (*key, "out"))
  labels = units.unite(group.labels, outer.labels, "groups of channels")
  # The same for all groups, and so zero only if it is in all of them.
  joint = units.unite(inner.labels, each.labels, "groups of channels")
  analysis.contract(joint, inner.uniform.zero | each.uniform.zero, spoilt)
  both = Axis(labels, _either_zero(group.uniform, outer.uniform))
  channels = merge(units, [both, Axis(rest.labels, _zeros(rest.uniform))])
  return Axis(channels.labels, _either_zero(channels.uniform, _zeros(outof.uniform)))


def _run_conv(evaluation: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  units, params = evaluation.units, step.eqn.params
  lhs, rhs, _ = params["dimension_numbers"]
  image, kernel = arrays
  changed: dict[str, Any] = {}
  if params["feature_group_count"] > 1:
    changed["feature_group_count"] = image.shape[lhs[1]] // kernel.shape[rhs[1]]
  else:
    own, other = (
      kept(units, step.ins[0].axes[lhs[1]]),
      kept(units, step.ins[1].axes[rhs[1]]),
    )
    if len(own) > len(other):
      image = take(image, lhs[1], np.searchsorted(own, other))
  return [_with_added(evaluation, step, bind(step.eqn, [image, kernel], **changed))]


RULES = {
  "reduce_sum": Rule(_analyse_sum, _run_sum),
  "dot_general": Rule(_analyse_dot, _run_dot),
  "conv_general_dilated": Rule(_analyse_conv, _run_conv),
}
