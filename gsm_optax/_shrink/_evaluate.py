"""Computes a function with only the positions that are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jax.extend import core

from gsm_optax._shrink._analysis import Key, Program, Rule, Step
from gsm_optax._shrink._axes import take_kept
from gsm_optax._shrink._parts import Part
from gsm_optax._shrink._units import Units
from gsm_optax._shrink._values import Value


@dataclass(frozen=True)
class Evaluation:
  """A smaller function's equations, bound one by one.

  Attributes:
    units: what is removed.
    rules: by the name of a primitive.
    parts: of each contraction, what was taken out as constants.
  """

  units: Units
  rules: Mapping[str, Rule]
  parts: Mapping[Key, Sequence[Part]]

  def call(self, program: Program, args: Sequence[Any]) -> list[Any]:
    """The results, at the positions kept.

    Args:
      program: with the positions of all values.
      args: its arguments, at the positions kept.
    """
    arrays: dict[core.Var, Any] = {}
    arrays.update(zip(program.jaxpr.invars, args, strict=True))
    for var, (const, value) in zip(
      program.jaxpr.constvars, program.consts, strict=True
    ):
      arrays[var] = take_kept(self.units, const, value.axes)

    def read(atom: core.Var | core.Literal) -> Any:
      return atom.val if isinstance(atom, core.Literal) else arrays[atom]

    for step in program.steps:
      ins = [read(atom) for atom in step.eqn.invars]
      rule = self.rules.get(step.eqn.primitive.name, self.rules[""])
      arrays.update(zip(step.eqn.outvars, rule.run(self, step, ins), strict=True))
    return [read(atom) for atom in program.jaxpr.outvars]

  def changes(self, step: Step) -> bool:
    """Whether anything is removed in an equation, or in what it calls."""
    return (
      any(map(self._shrinks, (*step.ins, *step.outs)))
      or any(map(self._changes, step.inner))
      or step.key in self.parts
    )

  def _changes(self, program: Program) -> bool:
    return any(map(self.changes, program.steps)) or any(
      self._shrinks(value) for _, value in program.consts
    )

  def _shrinks(self, value: Value) -> bool:
    return any(self.units.gone(axis.labels).any() for axis in value.axes)
