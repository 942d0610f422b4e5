"""Primitives that sum over positions, where those that add nothing can be left out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Rule, Step
from gsm_optax._shrink._axes import kept, take
from gsm_optax._shrink._bind import bind, computed, run_as_it_is
from gsm_optax._shrink._constants import candidate, plus, with_added
from gsm_optax._shrink._parts import sum_of_parts
from gsm_optax._shrink._values import (
  ZEROED,
  Axis,
  Uniform,
  Value,
  spoilt_by,
)


def zeros_of(uniform: Uniform) -> Uniform:
  """A sum of products is zero where a factor is; else it is anything."""
  return uniform.only_zeros()


def either_zero(a: Uniform, b: Uniform) -> Uniform:
  """The same where slices of both factors are at one position of the result."""
  zero = a.zero | b.zero
  return Uniform(zero, np.zeros(zero.shape))


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
    Axis(axis.labels, zeros_of(value.uniform(number)))
    for number, axis in enumerate(value.axes)
    if number not in summed
  ]
  out = Value(
    tuple(axes), zeros_of(value.whole), value.dtype, computed(eqn, ins), value.spoilt
  )
  return Step(key, eqn, ins, [out], [])


# Products.


def joint_labels(
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
    labels = joint_labels(analysis, ins, (i, j), (*key, number))
    zero = left.zero | right.zero
    constant = None
    if len(contracting[0]) == 1:
      constant = candidate(analysis, labels, ins, (i, j), zero, key)
    analysis.contract(labels, zero, spoilt_by(ins), constant)
  axes: list[Axis] = []
  for i, j in zip(*batch, strict=True):
    labels = analysis.units.unite(
      lhs.axes[i].labels, rhs.axes[j].labels, "cut up in two ways"
    )
    axes.append(Axis(labels, either_zero(lhs.uniform(i), rhs.uniform(j))))
  for value, own, others in zip(ins, contracting, batch, strict=True):
    axes += [
      Axis(axis.labels, zeros_of(value.uniform(number)))
      for number, axis in enumerate(value.axes)
      if number not in own and number not in others
    ]
  aval: Any = eqn.outvars[0].aval
  whole = either_zero(lhs.whole, rhs.whole)
  out = Value(tuple(axes), whole, aval.dtype, computed(eqn, ins), spoilt_by(ins))
  added = sum_of_parts(analysis.parts.get(key, ()), eqn)
  return Step(key, eqn, ins, [plus(analysis, out, added)], [])


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
  return [with_added(evaluation, step, bind(step.eqn, arrays))]


RULES = {
  "reduce_sum": Rule(_analyse_sum, run_as_it_is),
  "dot_general": Rule(_analyse_dot, _run_dot),
}
