"""Primitives without a rule: what goes into them stays, and what comes out."""

from collections.abc import Sequence
from typing import Any

from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Rule, Step
from gsm_optax._shrink._calls import unchanged
from gsm_optax._shrink._values import Axis, Value, unknown


def _fix(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  reason = f"no rule for {eqn.primitive.name}"
  for value in ins:
    value.fix(analysis.units, reason)
  outs: list[Value] = []
  for var in eqn.outvars:
    aval: Any = var.aval
    shape = getattr(aval, "shape", ())
    axes = tuple(Axis(analysis.units.staying(n, reason), unknown(n)) for n in shape)
    dtype = getattr(aval, "dtype", None)
    outs.append(Value(axes, unknown(1), dtype, None, eqn.primitive.name))
  return Step(key, eqn, ins, outs, [])


def _run(_: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  return unchanged(step, arrays)


RULES = {"": Rule(_fix, _run)}
