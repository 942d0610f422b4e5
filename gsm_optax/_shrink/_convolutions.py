"""Convolutions, whose groups of channels go as a whole."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Rule, Step
from gsm_optax._shrink._axes import kept, merge, split, take
from gsm_optax._shrink._bind import bind, computed
from gsm_optax._shrink._constants import candidate, plus, with_added
from gsm_optax._shrink._contractions import (
  either_zero,
  joint_labels,
  zeros_of,
)
from gsm_optax._shrink._parts import sum_of_parts
from gsm_optax._shrink._values import Axis, Value, spoilt_by, staying


def _analyse_conv(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  image, kernel = ins
  units, params = analysis.units, eqn.params
  lhs, rhs, out = params["dimension_numbers"]
  image.fix(units, "pixels of a convolution", lhs[2:])
  kernel.fix(units, "pixels of a convolution", rhs[2:])
  groups = params["feature_group_count"]
  aval: Any = eqn.outvars[0].aval
  into, each, outof = image.axis(lhs[1]), kernel.axis(rhs[1]), kernel.axis(rhs[0])
  batch = Axis(image.axes[lhs[0]].labels, zeros_of(image.uniform(lhs[0])))
  if params["batch_group_count"] > 1:
    for value in ins:
      value.fix(units, "a convolution with batch groups")
    batch, channels = (staying(aval.shape[out[number]]) for number in (0, 1))
  elif groups == 1:
    labels = joint_labels(analysis, ins, (lhs[1], rhs[1]), (*key, 0))
    zero = into.uniform.zero | each.uniform.zero
    constant = candidate(analysis, labels, ins, (lhs[1], rhs[1]), zero, key)
    if ins[0].array is not None:
      constant = None
    analysis.contract(labels, zero, spoilt_by(ins), constant)
    channels = Axis(outof.labels, zeros_of(outof.uniform))
  else:
    channels = _groups(analysis, groups, into, each, outof, spoilt_by(ins), key)
  axes = [staying(n) for n in aval.shape]
  axes[out[0]], axes[out[1]] = batch, channels
  whole = either_zero(image.whole, kernel.whole)
  result = Value(tuple(axes), whole, aval.dtype, computed(eqn, ins), spoilt_by(ins))
  added = sum_of_parts(analysis.parts.get(key, ()), eqn)
  return Step(key, eqn, ins, [plus(analysis, result, added)], [])


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
  both = Axis(labels, either_zero(group.uniform, outer.uniform))
  channels = merge(units, [both, Axis(rest.labels, zeros_of(rest.uniform))])
  return Axis(channels.labels, either_zero(channels.uniform, zeros_of(outof.uniform)))


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
  return [with_added(evaluation, step, bind(step.eqn, [image, kernel], **changed))]


RULES = {"conv_general_dilated": Rule(_analyse_conv, _run_conv)}
