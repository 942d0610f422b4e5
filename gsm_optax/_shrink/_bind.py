"""Computes an equation by itself: at the positions kept, or of parameters alone."""

from collections.abc import Callable, Sequence
from typing import Any

from jax.extend import core

from gsm_optax._shrink._analysis import Step
from gsm_optax._shrink._values import Value


def bind(eqn: core.JaxprEqn, arrays: Sequence[Any], **changed: Any) -> Any:
  """The primitive of other arrays, with some of its parameters changed."""
  return eqn.primitive.bind(*arrays, **{**eqn.params, **changed})


def run_as_it_is(_: Any, step: Step, arrays: Sequence[Any]) -> Sequence[Any]:
  """The `run` of rules for primitives whose parameters hold at any shapes."""
  results = bind(step.eqn, arrays)
  return results if step.eqn.primitive.multiple_results else [results]


def computed(eqn: core.JaxprEqn, ins: Sequence[Value]) -> Callable[[], Any] | None:
  """Computes the result, if nothing but parameters and constants goes into it."""
  arrays = [value.array for value in ins]
  if any(array is None for array in arrays):
    return None
  memo: list[Any] = []

  def array() -> Any:
    if not memo:
      memo.append(bind(eqn, [each() for each in arrays if each]))
    return memo[0]

  return array
