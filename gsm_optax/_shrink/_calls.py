"""Primitives that call functions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Program, Rule, Step
from gsm_optax._shrink._evaluate import Evaluation
from gsm_optax._shrink._values import Axis, Uniform, Value, staying, unknown

OTHERWISE = "tied to what is cut up otherwise"


def _function(eqn: core.JaxprEqn) -> tuple[core.Jaxpr, Sequence[Any]]:
  """The one that is called, and what it closes over."""
  for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
    if name in eqn.params:
      inner = eqn.params[name]
      closed = isinstance(inner, core.ClosedJaxpr)
      return (inner.jaxpr, inner.consts) if closed else (inner, ())
  raise TypeError(f"{eqn.primitive.name} calls no function")


# Called as it is.


def _call(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  program = analysis.call(*_function(eqn), ins, key)
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


# Called with derivatives of their own.


def _custom(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  """Also walks through the derivatives, which tie positions together too."""
  if "derivative" in key:  # a derivative may call the function itself
    return _call(analysis, eqn, ins, key)
  around = analysis.around
  program = analysis.call(*_function(eqn), ins, key)
  forward = eqn.primitive.name == "custom_jvp_call"
  derivative = _jvp(eqn, around) if forward else _vjp(eqn, around)
  differentiable = [value for value in ins if jnp.issubdtype(value.dtype, jnp.inexact)]
  more = differentiable if forward else _inexact(program.outs)
  values = [*ins, *map(_tangent, more)]
  seen = len(analysis.summed), len(analysis.needed)
  other = analysis.call(
    derivative.jaxpr, derivative.consts, values, (*key, "derivative")
  )
  # What is dead is so in the function: how it would change is of no account.
  del analysis.summed[seen[0] :], analysis.needed[seen[1] :]
  aims = [*program.outs, *_inexact(program.outs)] if forward else differentiable
  for aim, found in zip(aims, other.outs, strict=True):
    for own, axis in zip(aim.axes, found.axes, strict=True):
      analysis.units.unite(own.labels, axis.labels, OTHERWISE)
  return Step(key, eqn, ins, program.outs, [program, other])


def _inexact(values: Sequence[Value]) -> list[Value]:
  return [value for value in values if jnp.issubdtype(value.dtype, jnp.inexact)]


def _tangent(value: Value) -> Value:
  """Of a change of the other params: zero where the value does not change."""

  def still(uniform: Uniform) -> Uniform:
    known = uniform.known.copy()
    known[1] = False  # as it is now, it may be trained
    return Uniform(known, np.zeros_like(uniform.value))

  axes = [
    Axis(axis.labels, still(value.uniform(number)))
    for number, axis in enumerate(value.axes)
  ]
  return replace(value, axes=tuple(axes), whole=unknown(1), array=None)


def _avals(atoms: Sequence[Any]) -> list[jax.ShapeDtypeStruct]:
  return [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in atoms]


def _jvp(eqn: core.JaxprEqn, around: core.Jaxpr | None) -> core.ClosedJaxpr:
  """``(arguments, tangents of the inexact ones) -> (results, tangents)``."""
  args = _avals(eqn.invars)
  inexact = [i for i, a in enumerate(args) if jnp.issubdtype(a.dtype, jnp.inexact)]
  function, taken = alone(eqn, around)

  def jvp(args: Sequence[Any], tangents: Sequence[Any]) -> Any:
    def of_inexact(*values: Any) -> Any:
      every = list(args)
      for number, value in zip(inexact, values, strict=True):
        every[number] = value
      return function(*(every[number] for number in taken))

    outs, changes = jax.jvp(of_inexact, [args[i] for i in inexact], list(tangents))
    kinds = zip(outs, changes, strict=True)
    return outs, [t for out, t in kinds if jnp.issubdtype(out.dtype, jnp.inexact)]

  return jax.make_jaxpr(jvp)(args, [args[i] for i in inexact])


def _vjp(eqn: core.JaxprEqn, around: core.Jaxpr | None) -> core.ClosedJaxpr:
  """``(arguments, cotangents of inexact results) -> cotangents of inexact ones``."""
  args, outs = _avals(eqn.invars), _avals(eqn.outvars)
  inexact = [i for i, a in enumerate(args) if jnp.issubdtype(a.dtype, jnp.inexact)]
  function, taken = alone(eqn, around)

  def vjp(args: Sequence[Any], cotangents: Sequence[Any]) -> Any:
    def of_inexact(*values: Any) -> Any:
      every = list(args)
      for number, value in zip(inexact, values, strict=True):
        every[number] = value
      results = function(*(every[number] for number in taken))
      return [r for r in results if jnp.issubdtype(r.dtype, jnp.inexact)]

    _, pull = jax.vjp(of_inexact, *(args[i] for i in inexact))
    return pull(list(cotangents))

  given = [out for out in outs if jnp.issubdtype(out.dtype, jnp.inexact)]
  return jax.make_jaxpr(vjp)(args, given)


def _run_custom(
  evaluation: Evaluation, step: Step, arrays: Sequence[Any]
) -> Sequence[Any]:
  if not evaluation.changes(step):
    return unchanged(step, arrays)
  program, *derivatives = step.inner
  if not derivatives:
    return evaluation.call(program, arrays)
  (derivative,) = derivatives
  inexact = [i for i, v in enumerate(step.ins) if jnp.issubdtype(v.dtype, jnp.inexact)]

  def results(*args: Any) -> Any:
    return tuple(evaluation.call(program, args))

  if step.eqn.primitive.name == "custom_jvp_call":
    function: Any = jax.custom_jvp(results)

    def jvp(primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
      changes = [tangents[number] for number in inexact]
      found = iter(evaluation.call(derivative, [*primals, *changes]))
      outs = [next(found) for _ in step.outs]
      return tuple(outs), tuple(
        next(found)
        if jnp.issubdtype(out.dtype, jnp.inexact)
        else np.zeros(out.shape, jax.dtypes.float0)
        for out in outs
      )

    function.defjvp(jvp)
    return function(*arrays)

  def forwards(*args: Any) -> Any:
    return results(*args), args

  def backwards(args: Sequence[Any], cotangents: Sequence[Any]) -> Any:
    given = [
      each
      for each, out in zip(cotangents, step.outs, strict=True)
      if jnp.issubdtype(out.dtype, jnp.inexact)
    ]
    found = dict(
      zip(inexact, evaluation.call(derivative, [*args, *given]), strict=True)
    )
    return tuple(found.get(number) for number in range(len(args)))

  function = jax.custom_vjp(results)
  function.defvjp(forwards, backwards)
  return function(*arrays)


# Called again and again, or one of several.


def _scan(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  params = eqn.params
  m, n = params["num_consts"], params["num_carry"]
  consts, carry, stacked = list(ins[:m]), list(ins[m : m + n]), ins[m + n :]
  for value in stacked:
    value.fixed(analysis.units, "layers of a scan", [0])
  each = [_first(value) for value in stacked]
  carry = [replace(value, array=None) for value in carry]
  while True:
    program = analysis.call(*_function(eqn), [*consts, *carry, *each], key)
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
  axes = [
    Axis(axis.labels, value.uniform(number)) for number, axis in enumerate(value.axes)
  ]
  whole = value.whole
  return replace(value, axes=tuple(axes[1:]), whole=whole, array=None)


def _stack(value: Value, n: int) -> Value:
  return replace(value, axes=(staying(n), *value.axes), array=None)


def _meet(analysis: Analysis, a: Value, b: Value) -> Value:
  """What is known of a value that is either of two."""
  axes = [
    Axis(
      analysis.units.unite(old.labels, new.labels, OTHERWISE),
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
  index, *operands = ins
  programs: list[Program] = [
    analysis.call(branch.jaxpr, branch.consts, operands, (*key, number))
    for number, branch in enumerate(eqn.params["branches"])
  ]
  outs = list(programs[0].outs)
  for program in programs[1:]:
    outs = [_meet(analysis, *pair) for pair in zip(outs, program.outs, strict=True)]
  if len(programs) == 1:
    outs = [replace(value, array=None) for value in outs]
  del index
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
  **{name: Rule(_call, _run_call) for name in ("jit", "pjit", "closed_call")},
  **{name: Rule(_call, _run_remat) for name in ("remat2", "remat", "checkpoint")},
  **{
    name: Rule(_custom, _run_custom)
    for name in ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
  },
  "scan": Rule(_scan, _run_scan),
  "cond": Rule(_cond, _run_cond),
}
