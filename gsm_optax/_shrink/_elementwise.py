"""Primitives that compute each element by itself."""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Rule, Step
from gsm_optax._shrink._axes import united
from gsm_optax._shrink._bind import computed, run_as_it_is
from gsm_optax._shrink._values import (
  ZEROED,
  Axis,
  Uniform,
  Value,
  held,
  spoilt_by,
  unknown,
)

Function = Callable[..., Any]

_erf, _erfc = (np.vectorize(each, [float]) for each in (math.erf, math.erfc))


FUNCTIONS: dict[str, Function] = {
  "abs": np.abs,
  "acos": np.arccos,
  "acosh": np.arccosh,
  "add": np.add,
  "add_any": np.add,
  "asin": np.arcsin,
  "asinh": np.arcsinh,
  "atan": np.arctan,
  "atanh": np.arctanh,
  "cbrt": np.cbrt,
  "ceil": np.ceil,
  "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
  "convert_element_type": np.positive,
  "copy": np.positive,
  "cos": np.cos,
  "cosh": np.cosh,
  "div": np.divide,
  "eq": np.equal,
  "erf": _erf,
  "erfc": _erfc,
  "exp": np.exp,
  "exp2": np.exp2,
  "expm1": np.expm1,
  "floor": np.floor,
  "ge": np.greater_equal,
  "gt": np.greater,
  "is_finite": np.isfinite,
  "le": np.less_equal,
  "log": np.log,
  "log1p": np.log1p,
  "logistic": lambda x: 1 / (1 + np.exp(-x)),
  "lt": np.less,
  "max": np.maximum,
  "min": np.minimum,
  "mul": np.multiply,
  "name": np.positive,
  "ne": np.not_equal,
  "neg": np.negative,
  "pow": np.power,
  "reduce_precision": lambda x: np.where(x == 0, 0.0, np.nan),  # it may round
  "rsqrt": lambda x: 1 / np.sqrt(x),
  "sharding_constraint": np.positive,
  "sign": np.sign,
  "sin": np.sin,
  "sinh": np.sinh,
  "sqrt": np.sqrt,
  "square": np.square,
  "sub": np.subtract,
  "tan": np.tan,
  "tanh": np.tanh,
}
"""What is computed of one value throughout. Others of `OPAQUE` are not."""

OPAQUE = (
  *(
    "and",
    "atan2",  # of zeros it depends on their signs
    "bessel_i0e",
    "bessel_i1e",
    "clz",
    "complex",
    "conj",
    "lgamma",
  ),
  *("digamma", "erf_inv", "igamma", "igammac", "imag", "integer_pow", "nextafter"),
  *("not", "or", "population_count", "real", "regularized_incomplete_beta", "rem"),
  *("round", "select_n", "shift_left", "shift_right_arithmetic", "xor"),
  *("shift_right_logical", "stop_gradient"),
)


def _function(eqn: core.JaxprEqn) -> Function | None:
  name, params = eqn.primitive.name, eqn.params
  if name == "integer_pow":
    return lambda x: np.power(x, float(params["y"]))
  return FUNCTIONS.get(name)


def _apply(
  eqn: core.JaxprEqn, operands: Sequence[Uniform], dtype: Any, size: int
) -> Uniform:
  """The primitive of slices that have one value throughout."""
  name, function = eqn.primitive.name, _function(eqn)
  result = unknown(size)
  if function is not None:
    all_known = reduce(np.logical_and, (each.known for each in operands))
    with np.errstate(all="ignore"):
      exact = np.asarray(function(*(each.value for each in operands)), np.float64)
      values = np.real(exact.astype(dtype)).astype(np.float64)
      right = all_known & held(values, dtype)
      if jnp.issubdtype(dtype, jnp.integer):  # which may overflow
        right &= values == np.trunc(exact)
    result = Uniform(np.broadcast_to(right, (2, size)), np.where(right, values, 0.0))
  if name == "mul" or (name == "and" and jnp.issubdtype(dtype, jnp.bool_)):
    zero = reduce(np.logical_or, (each.zero for each in operands))
    return Uniform(result.known | zero, np.where(zero, 0.0, result.value))
  if name == "div":  # of what is not zero, or it would not be a number anyway
    zero = operands[0].zero & ~operands[1].zero
    return Uniform(result.known | zero, np.where(zero, 0.0, result.value))
  if name == "select_n":
    return _select(operands[0], operands[1:], size)
  return result


def _select(which: Uniform, cases: Sequence[Uniform], size: int) -> Uniform:
  wide = [
    Uniform(
      np.broadcast_to(each.known, (2, size)), np.broadcast_to(each.value, (2, size))
    )
    for each in cases
  ]
  result = reduce(Uniform.and_also, wide)
  for number, case in enumerate(wide):
    chosen = np.broadcast_to(which.known & (which.value == number), (2, size))
    result = case.if_else(chosen, result)
  return result


def _analyse(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  aval: Any = eqn.outvars[0].aval
  name = eqn.primitive.name
  axes: list[Axis] = []
  spoilt = spoilt_by(ins)
  for number, n in enumerate(aval.shape):
    long = [value.axes[number] for value in ins if value.axes]
    long = [axis for axis in long if len(axis) == n]
    labels = united(analysis.units, long)
    operands = [
      (value.uniform(number) if len(value.axes[number]) == n else value.spread(number))
      if value.axes
      else value.whole
      for value in ins
    ]
    uniform = _apply(eqn, operands, aval.dtype, n)
    was_zero = reduce(np.logical_or, (each.zero[ZEROED] for each in operands))
    if (was_zero & ~uniform.zero[ZEROED]).any():
      spoilt = name
    axes.append(Axis(labels, uniform))
  whole = _apply(eqn, [value.whole for value in ins], aval.dtype, 1)
  out = Value(tuple(axes), whole, aval.dtype, computed(eqn, ins), spoilt)
  return Step(key, eqn, ins, [out], [])


def _pass(_: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key) -> Step:
  return Step(key, eqn, ins, list(ins), [])


RULES = {
  **dict.fromkeys((*FUNCTIONS, *OPAQUE), Rule(_analyse, run_as_it_is)),
  # Of several arrays, each as it is.
  **dict.fromkeys(("optimization_barrier", "device_put"), Rule(_pass, run_as_it_is)),
}
