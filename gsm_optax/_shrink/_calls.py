"""Primitives that call functions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Program, Rule, Step
from gsm_optax._shrink._axes import united
from gsm_optax._shrink._evaluate import Evaluation
from gsm_optax._shrink._values import Axis, Value, staying


def called(eqn: core.JaxprEqn) -> tuple[core.Jaxpr, Sequence[Any]]:
  """The one that is called, and what it closes over."""
  for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
    if name in eqn.params:
      inner = eqn.params[name]
      closed = isinstance(inner, core.ClosedJaxpr)
      return (inner.jaxpr, inner.consts) if closed else (inner, ())
  raise TypeError(f"{eqn.primitive.name} calls no function")


# Called as it is.


def analyse_call(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  program = analysis.call(*called(eqn), ins, key)
  return Step(key, eqn, ins, program.outs, [program])


def alone(
  eqn: core.JaxprEqn, around: core.Jaxpr | None
) -> tuple[Callable[..., Any], list[int]]:
  """An equation as a function, and the numbers of the arguments that it takes.

  Literals are a part of it, and an argument that is given twice is taken once.
  """
  taken: dict[core.Var, int] = {}
  for number, atom in enumerate(eqn.invars):
    if isinstance(atom, core.Var):
      taken.setdefault(atom, number)
  assert around is not None
  jaxpr = around.replace(
    constvars=[], invars=list(taken), outvars=eqn.outvars, eqns=[eqn]
  )
  return core.jaxpr_as_fun(core.ClosedJaxpr(jaxpr, ())), list(taken.values())


def unchanged(step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  """The results of an equation as it is."""
  function, taken = alone(step.eqn, step.around)
  return function(*(arrays[number] for number in taken))


def _run_call(
  evaluation: Evaluation, step: Step, arrays: Sequence[Any]
) -> Sequence[Any]:
  if not evaluation.changes(step):
    return unchanged(step, arrays)
  return evaluation.call(step.inner[0], arrays)


def _run_remat(
  evaluation: Evaluation, step: Step, arrays: Sequence[Any]
) -> Sequence[Any]:
  params = step.eqn.params

  def function(*args: Any) -> Sequence[Any]:
    return evaluation.call(step.inner[0], args)

  again = jax.checkpoint(
    function, prevent_cse=params["prevent_cse"], policy=params["policy"]
  )
  return again(*arrays)


# Called again and again, or one of several.


def _scan(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  params = eqn.params
  m, n = params["num_consts"], params["num_carry"]
  consts, carry, stacked = list(ins[:m]), list(ins[m : m + n]), ins[m + n :]
  for value in stacked:
    value.fix(analysis.units, "layers of a scan", [0])
  each = [_first(value) for value in stacked]
  carry = [replace(value, array=None) for value in carry]
  while True:
    program = analysis.call(*called(eqn), [*consts, *carry, *each], key)
    weaker = [
      _meet(analysis, before, after)
      for before, after in zip(carry, program.outs[:n], strict=True)
    ]
    if all(map(_same, carry, weaker)):
      break
    carry = weaker
  outs = [*carry, *(_stack(value, params["length"]) for value in program.outs[n:])]
  return Step(key, eqn, ins, outs, [program])


def _first(value: Value) -> Value:
  """Any one of an array's rows."""
  axes = [value.axis(number) for number in range(1, len(value.axes))]
  return replace(value, axes=tuple(axes), array=None)


def _stack(value: Value, n: int) -> Value:
  return replace(value, axes=(staying(n), *value.axes), array=None)


def _meet(analysis: Analysis, a: Value, b: Value) -> Value:
  """What is known of a value that is either of two."""
  axes = [
    Axis(
      united(analysis.units, [old, new]),
      a.uniform(number).and_also(b.uniform(number)),
    )
    for number, (old, new) in enumerate(zip(a.axes, b.axes, strict=True))
  ]
  whole = a.whole.and_also(b.whole)
  return Value(tuple(axes), whole, a.dtype, None, a.spoilt or b.spoilt)


def _same(a: Value, b: Value) -> bool:
  uniforms = [(a.whole, b.whole)]
  uniforms += [(a.uniform(i), b.uniform(i)) for i in range(len(a.axes))]
  return all(np.array_equal(old.known, new.known) for old, new in uniforms)


def _run_scan(
  evaluation: Evaluation, step: Step, arrays: Sequence[Any]
) -> Sequence[Any]:
  params = step.eqn.params
  m, n = params["num_consts"], params["num_carry"]
  consts, carry, stacked = arrays[:m], arrays[m : m + n], arrays[m + n :]

  def body(carry: Sequence[Any], each: Sequence[Any]) -> Any:
    outs = evaluation.call(step.inner[0], [*consts, *carry, *each])
    return outs[:n], outs[n:]

  carry, stacks = lax.scan(
    body,
    list(carry),
    list(stacked),
    params["length"],
    reverse=params["reverse"],
    unroll=params["unroll"],
  )
  return [*carry, *stacks]


def _cond(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  operands = ins[1:]
  programs: list[Program] = [
    analysis.call(branch.jaxpr, branch.consts, operands, (*key, number))
    for number, branch in enumerate(eqn.params["branches"])
  ]
  outs = list(programs[0].outs)
  for program in programs[1:]:
    outs = [_meet(analysis, *pair) for pair in zip(outs, program.outs, strict=True)]
  if len(programs) == 1:
    outs = [replace(value, array=None) for value in outs]
  return Step(key, eqn, ins, outs, programs)


def _run_cond(
  evaluation: Evaluation, step: Step, arrays: Sequence[Any]
) -> Sequence[Any]:
  index, *operands = arrays
  branches = [
    lambda *args, program=program: evaluation.call(program, args)
    for program in step.inner
  ]
  return lax.switch(index, branches, *operands)


RULES = {
  **{name: Rule(analyse_call, _run_call) for name in ("jit", "pjit", "closed_call")},
  **{
    name: Rule(analyse_call, _run_remat) for name in ("remat2", "remat", "checkpoint")
  },
  "scan": Rule(_scan, _run_scan),
  "cond": Rule(_cond, _run_cond),
}
