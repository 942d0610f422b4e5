"""Units that are constant, and what they add where they were summed."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Candidate, Key, Part, Step
from gsm_optax._shrink._axes import kept
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


def sum_of_parts(parts: Sequence[Part], eqn: core.JaxprEqn) -> npt.NDArray[Any] | None:
  """What the constants of a contraction add to its result.

  It has the result's rank, with axes of one position where all are alike. It is
  computed by NumPy, as JAX would compile something for each shape.
  """
  add = _add_to_dot if eqn.primitive.name == "dot_general" else _add_to_conv
  for part in parts:
    if not part.found:
      part.found.append(add(part, eqn))
  return np.sum([part.found[0] for part in parts], axis=0) if parts else None


def _summed(part: Part, axis: int) -> npt.NDArray[np.float64]:
  """The rows, each times its constant, added up: without the rows' axis."""
  rows = np.asarray(part.rows).astype(np.float64)
  return np.tensordot(part.values, rows, ([0], [axis]))


def _add_to_dot(part: Part, eqn: core.JaxprEqn) -> npt.NDArray[np.float64]:
  contracting, batch = eqn.params["dimension_numbers"]
  own, other = part.side, 1 - part.side
  ranks = [len(var.aval.shape) for var in eqn.invars]  # pyright: ignore
  axes = [i for i in range(ranks[other]) if i not in contracting[other]]
  free = [i for i in axes if i not in batch[other]]
  result = _summed(part, contracting[other][0])
  # A result has the axes of the batch first, then those of both operands.
  result = result.transpose([axes.index(i) for i in (*batch[other], *free)])
  alike = ranks[own] - len(batch[own]) - 1
  shape = result.shape[: len(batch[other])]
  ones = (1,) * alike
  rest = result.shape[len(shape) :]
  return result.reshape(*shape, *((*ones, *rest) if own == 0 else (*rest, *ones)))


def _add_to_conv(part: Part, eqn: core.JaxprEqn) -> npt.NDArray[Any]:
  """Each pixel of the kernel counts where it lies within the image."""
  params = eqn.params
  lhs, rhs, out = params["dimension_numbers"]
  image, result = (var.aval.shape for var in (eqn.invars[0], eqn.outvars[0]))  # pyright: ignore
  kernel = np.moveaxis(np.asarray(part.rows), rhs, range(len(rhs)))
  # From (out, in, pixels) to (out, pixels).
  found: npt.NDArray[Any] = np.tensordot(
    part.values, kernel.astype(np.float64), ([0], [1])
  )
  for number, (low, _) in enumerate(params["padding"]):
    places = np.arange(result[out[2 + number]])[:, None]
    pixels = np.arange(found.shape[1])[None]
    dilated = params["lhs_dilation"][number]
    index = places * params["window_strides"][number] - low
    index = index + pixels * params["rhs_dilation"][number]
    inside = (index >= 0) & (index <= (image[lhs[2 + number]] - 1) * dilated)
    inside &= index % dilated == 0
    # The kernel's first axis goes, and the image's comes last.
    found = np.tensordot(found, inside.astype(np.float64), ([1], [1]))
  # As the image is: one for all images, then channels, then pixels.
  return np.moveaxis(found[None], range(found.ndim + 1), out)


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
    if added.shape[number] > 1:
      added = np.take(added, kept(evaluation.units, axis), number)
  return result + jnp.asarray(added, result.dtype)
