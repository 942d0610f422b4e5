"""Which positions of a function's values belong together, and which are zero."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jax.extend import core

from gsm_optax._shrink._parts import Candidate, Part
from gsm_optax._shrink._units import Labels, Units
from gsm_optax._shrink._values import (
  NOW,
  ZEROED,
  Axis,
  Uniform,
  Value,
  held,
  known,
  uniform_slices,
  unknown,
)

Key = tuple[Hashable, ...]
"""The place of an equation: its number, after those of the equations around it."""


class Step(NamedTuple):
  """An equation, and what is known of its values.

  Attributes:
    key: its place.
    eqn: the equation.
    ins: its arguments.
    outs: its results.
    inner: the functions that it calls.
    around: the function that it is in.
  """

  key: Key
  eqn: core.JaxprEqn
  ins: Sequence[Value]
  outs: Sequence[Value]
  inner: Sequence["Program"]
  around: core.Jaxpr | None = None


class Program(NamedTuple):
  """A function, equation by equation.

  Attributes:
    jaxpr: the function.
    consts: the arrays that it closes over, and what is known of them.
    steps: the equations that matter to its results.
    outs: its results.
  """

  jaxpr: core.Jaxpr
  consts: Sequence[tuple[Any, Value]]
  steps: Sequence[Step]
  outs: Sequence[Value]


@dataclass
class Analysis:
  """One walk through a function.

  Attributes:
    units: what belongs together, which the walk adds to.
    rules: by the name of a primitive, which see.
    parts: of each contraction that units were taken out of as constants.
    summed: the labels of all positions that are summed over.
    needed: those of them whose summands are not zero.
    candidates: contractions of constants.
    around: the function that is walked through.
  """

  units: Units
  rules: Mapping[str, "Rule"]
  parts: Mapping[Key, Sequence[Part]] = field(default_factory=dict[Key, Sequence[Part]])
  summed: list[Labels] = field(default_factory=list[Labels])
  needed: list[Labels] = field(default_factory=list[Labels])
  candidates: dict[Key, Candidate] = field(default_factory=dict[Key, Candidate])
  around: core.Jaxpr | None = None

  def contract(
    self,
    labels: Labels,
    zero: npt.NDArray[np.bool_],
    spoilt: str,
    constant: npt.NDArray[np.bool_] | None = None,
  ) -> None:
    """Sums over positions: the only place where something may be left out.

    Args:
      labels: (n,), of the positions.
      zero: bool (2, n): in each case, whether what is added is zero.
      spoilt: the primitive because of which it is not.
      constant: bool (n,): what is not zero, but constant.
    """
    where = f": {spoilt}" if spoilt else ""
    self.units.fix(labels[~zero[ZEROED]], f"summed while not zero{where}")
    self.summed.append(labels)
    free = zero[NOW] if constant is None else zero[NOW] | constant
    self.needed.append(labels[~free])

  def call(
    self, jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Value], key: Key
  ) -> Program:
    """Walks through a function."""
    values: dict[core.Var, Value] = {}
    values.update(zip(jaxpr.invars, args, strict=True))
    closed_over = [
      self.constant(const, (*key, "const", number))
      for number, const in enumerate(consts)
    ]
    values.update(zip(jaxpr.constvars, closed_over, strict=True))
    self._leave_some([*args, *closed_over])

    def read(atom: core.Var | core.Literal) -> Value:
      if isinstance(atom, core.Literal):
        return self.constant(atom.val, (*key, "literal"))
      return values[atom]

    steps: list[Step] = []
    for number, eqn in needed_equations(jaxpr):
      ins = [read(atom) for atom in eqn.invars]
      rule = self.rules.get(eqn.primitive.name, self.rules[""])
      self.around = jaxpr
      step = rule.analyse(self, eqn, ins, (*key, number))._replace(around=jaxpr)
      self._leave_some(step.outs)
      values.update(zip(eqn.outvars, step.outs, strict=True))
      steps.append(step)
    outs = [read(atom) for atom in jaxpr.outvars]
    return Program(jaxpr, list(zip(consts, closed_over, strict=True)), steps, outs)

  def _leave_some(self, values: Sequence[Value]) -> None:
    """Fixes positions that are alone on their axis: nothing would be left of it."""
    for value in values:
      for axis in value.axes:
        if len(axis) == 1:
          self.units.fix(axis.labels, "alone on its axis")

  def constant(self, array: Any, name: Key) -> Value:
    """A value that the function brings along."""
    array = np.asarray(array)
    if not array.ndim:
      numeric = array.dtype.kind in "biuf" or array.dtype.kind == "V"
      number = float(array) if numeric else np.nan
      whole = known([number]) if held(number, array.dtype) else unknown(1)
      return Value((), whole, array.dtype, lambda: array)
    return self._array(array, name, zeroed=False)

  def parameter(self, array: Any, name: Key) -> Value:
    """A leaf of the params, which may be abstract."""
    if not array.shape:
      # Units that depend on it would not follow when it is trained.
      numbers = np.asarray(array) if hasattr(array, "__array__") else None
      return Value((), unknown(1), array.dtype, lambda: numbers)
    return self._array(array, name, zeroed=True)

  def _array(self, array: Any, name: Key, zeroed: bool) -> Value:
    labels = [self.units.fresh((*name, a), n) for a, n in enumerate(array.shape)]
    concrete = hasattr(array, "__array__")
    numbers = np.asarray(array) if concrete else None
    if numbers is not None and not np.isfinite(numbers).all():
      for each in labels:  # zero times these is no zero
        self.units.fix(each, "numbers that are not finite")
    kept = [~self.units.gone(each) for each in labels]
    axes: list[Axis] = []
    for axis, own in enumerate(labels):
      uniform = unknown(len(own))
      real = numbers is not None and numbers.dtype.kind in "biufV"
      if numbers is not None and real and not self.units.stays(own).all():
        same, value = uniform_slices(numbers, kept, axis)
        uniform.known[:], uniform.value[:] = same, value
      if zeroed and len(own) == 1:  # as a scalar
        uniform.known[NOW] = False
      if zeroed:
        uniform.known[ZEROED], uniform.value[ZEROED] = True, 0.0
      axes.append(Axis(own, uniform))
    # Nor would they follow a leaf of the params that is not theirs.
    whole = unknown(1) if zeroed else _whole(axes, kept)
    return Value(tuple(axes), whole, array.dtype, lambda: numbers)

  def input(self, shape: Sequence[int], dtype: Any, name: Key) -> Value:
    """An argument of the function of which nothing is known."""
    axes = [
      Axis(self.units.fresh((*name, number), n), unknown(n))
      for number, n in enumerate(shape)
    ]
    return Value(tuple(axes), unknown(1), dtype)


def _whole(axes: Sequence[Axis], kept: Sequence[npt.NDArray[np.bool_]]) -> Uniform:
  """Of an array, from its slices."""
  first = axes[0].uniform.at(kept[0])
  if not first.known.shape[1]:
    return unknown(1)
  same = first.known.all(1) & (first.value == first.value[:, :1]).all(1)
  return Uniform(same[:, None], np.where(same, first.value[:, 0], 0.0)[:, None])


class Rule(NamedTuple):
  """How a primitive treats positions.

  Attributes:
    analyse: takes the analysis, an equation, its arguments and its key, and returns a
      `Step`.
    run: takes the evaluation, a step and its arguments' arrays with only the positions
      that are kept, and returns the results.
  """

  analyse: Callable[[Analysis, core.JaxprEqn, Sequence[Value], Key], Step]
  run: Callable[[Any, Step, Sequence[Any]], Sequence[Any]]


def needed_equations(jaxpr: core.Jaxpr) -> list[tuple[int, core.JaxprEqn]]:
  """The equations that a result depends on, or that have an effect, by number."""
  needed = {var for var in jaxpr.outvars if isinstance(var, core.Var)}
  result: list[tuple[int, core.JaxprEqn]] = []
  for number, eqn in reversed(list(enumerate(jaxpr.eqns))):
    if eqn.effects or not needed.isdisjoint(eqn.outvars):
      result.append((number, eqn))
      needed.update(var for var in eqn.invars if isinstance(var, core.Var))
  return result[::-1]
