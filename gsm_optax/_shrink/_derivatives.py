"""Functions with derivatives of their own, which tie positions together too."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Rule, Step
from gsm_optax._shrink._axes import united
from gsm_optax._shrink._calls import alone, analyse_call, called, unchanged
from gsm_optax._shrink._evaluate import Evaluation
from gsm_optax._shrink._values import Axis, Uniform, Value, unknown


def _custom(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  """Also walks through the derivatives, which tie positions together too."""
  if "derivative" in key:  # a derivative may call the function itself
    return analyse_call(analysis, eqn, ins, key)
  around = analysis.around
  program = analysis.call(*called(eqn), ins, key)
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
      united(analysis.units, [own, axis])
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


def _of_inexact(
  eqn: core.JaxprEqn, around: core.Jaxpr | None, inexact: Sequence[int]
) -> Callable[[Sequence[Any]], Callable[..., Any]]:
  """Makes of all arguments the equation as a function of the inexact ones."""
  function, taken = alone(eqn, around)

  def at(args: Sequence[Any]) -> Callable[..., Any]:
    def of_inexact(*values: Any) -> Any:
      every = list(args)
      for number, value in zip(inexact, values, strict=True):
        every[number] = value
      return function(*(every[number] for number in taken))

    return of_inexact

  return at


def _jvp(eqn: core.JaxprEqn, around: core.Jaxpr | None) -> core.ClosedJaxpr:
  """``(arguments, tangents of the inexact ones) -> (results, tangents)``."""
  args = _avals(eqn.invars)
  inexact = [i for i, a in enumerate(args) if jnp.issubdtype(a.dtype, jnp.inexact)]
  function = _of_inexact(eqn, around, inexact)

  def jvp(args: Sequence[Any], tangents: Sequence[Any]) -> Any:
    outs, changes = jax.jvp(function(args), [args[i] for i in inexact], list(tangents))
    kinds = zip(outs, changes, strict=True)
    return outs, [t for out, t in kinds if jnp.issubdtype(out.dtype, jnp.inexact)]

  return jax.make_jaxpr(jvp)(args, [args[i] for i in inexact])


def _vjp(eqn: core.JaxprEqn, around: core.Jaxpr | None) -> core.ClosedJaxpr:
  """``(arguments, cotangents of inexact results) -> cotangents of inexact ones``."""
  args, outs = _avals(eqn.invars), _avals(eqn.outvars)
  inexact = [i for i, a in enumerate(args) if jnp.issubdtype(a.dtype, jnp.inexact)]
  function = _of_inexact(eqn, around, inexact)

  def vjp(args: Sequence[Any], cotangents: Sequence[Any]) -> Any:
    def inexact_results(*values: Any) -> Any:
      results = function(args)(*values)
      return [r for r in results if jnp.issubdtype(r.dtype, jnp.inexact)]

    _, pull = jax.vjp(inexact_results, *(args[i] for i in inexact))
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


RULES = {
  name: Rule(_custom, _run_custom)
  for name in ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
}
