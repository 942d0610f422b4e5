"""Units that are constant: where they are summed, and their parts in the sums."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gsm_optax._shrink._analysis import Analysis, Key, Step
from gsm_optax._shrink._axes import kept
from gsm_optax._shrink._parts import Candidate, sum_of_parts
from gsm_optax._shrink._values import (
  NOW,
  ZEROED,
  Axis,
  Uniform,
  Value,
  uniform_slices,
  unknown,
)


def candidate(
  analysis: Analysis,
  labels: npt.NDArray[np.int64],
  ins: Sequence[Value],
  numbers: Sequence[int],
  zero: npt.NDArray[np.bool_],
  key: Key,
) -> npt.NDArray[np.bool_] | None:
  """Positions at which an operand is constant, and the other is of parameters alone."""
  for own, other in ((0, 1), (1, 0)):
    array = ins[other].array
    if ins[own].array is None and array is not None:
      uniform = ins[own].uniform(numbers[own])
      constant = uniform.known[NOW] & ~zero[NOW]

      def rows(
        positions: npt.NDArray[np.int64],
        array: Callable[[], Any] = array,
        axis: int = numbers[other],
      ) -> npt.NDArray[Any]:
        return np.take(np.asarray(array()), positions, axis)

      analysis.candidates[key] = Candidate(
        labels, constant, uniform.value[NOW], rows, own
      )
      return constant
  return None


def plus(analysis: Analysis, out: Value, added: npt.NDArray[Any] | None) -> Value:
  """The result of a contraction, to which constants are added."""
  if added is None:
    return out
  every = [np.ones(n, bool) for n in added.shape]
  keeps = [
    ~analysis.units.gone(axis.labels) if n > 1 else ones
    for axis, n, ones in zip(out.axes, added.shape, every, strict=True)
  ]
  axes: list[Axis] = []
  for number, axis in enumerate(out.axes):
    same, value = uniform_slices(added, keeps, number)
    known, values = axis.uniform.known.copy(), axis.uniform.value.copy()
    known[NOW] &= same
    values[NOW] = np.where(known[NOW], value, 0.0)
    axes.append(Axis(axis.labels, Uniform(known, values)))
  whole = unknown(1)
  whole.known[ZEROED], whole.value[ZEROED] = out.whole.known[ZEROED], 0.0
  return Value(tuple(axes), whole, out.dtype, None, out.spoilt)


def with_added(evaluation: Any, step: Step, result: Any) -> Any:
  added = sum_of_parts(evaluation.parts.get(step.key, ()), step.eqn)
  if added is None:
    return result
  for number, axis in enumerate(step.outs[0].axes):
    positions = kept(evaluation.units, axis)
    if added.shape[number] > 1:
      added = np.take(added, positions, number)
    if evaluation.units.left_in:  # to which nothing is added
      idle = evaluation.units.idle(axis.labels[positions])
      behind = (1,) * (added.ndim - number - 1)
      added = np.where(idle.reshape(-1, *behind), 0.0, added)
  return result + jnp.asarray(added, result.dtype)
