"""What constant units add to a product or a convolution."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jax.extend import core

from gsm_optax._shrink._units import Labels


@dataclass(frozen=True, eq=False)
class Part:
  """Units that were constant, as one contraction saw them.

  Attributes:
    values: float64 (m,), of each unit.
    rows: the other operand at the units' positions.
    side: which operand is constant.
    found: what they add, once it has been computed; each later walk asks for it.
  """

  values: npt.NDArray[np.float64]
  rows: npt.NDArray[Any]
  side: int
  found: list[npt.NDArray[Any]] = field(default_factory=list[npt.NDArray[Any]])


class Candidate(NamedTuple):
  """Positions of a contraction that may become a `Part`.

  Attributes:
    labels: (n,).
    constant: bool (n,): which positions are.
    values: float64 (n,).
    rows: takes positions, and returns the other operand there.
    side: which operand is constant.
  """

  labels: Labels
  constant: npt.NDArray[np.bool_]
  values: npt.NDArray[np.float64]
  rows: Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]]
  side: int


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
