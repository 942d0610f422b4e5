"""How many multiplications and additions a function takes."""

import math
from typing import Any

from gsm_optax._shrink._analysis import Program, Step
from gsm_optax._shrink._axes import kept_shape
from gsm_optax._shrink._units import Units


def multiply_adds(program: Program, units: Units) -> int:
  """Of all products of matrices and convolutions, at the positions kept."""
  return sum(_of_step(step, units) for step in program.steps)


def _of_step(step: Step, units: Units) -> int:
  name = step.eqn.primitive.name
  if name == "dot_general":
    (left, right), _ = step.eqn.params["dimension_numbers"]
    shapes = [kept_shape(units, value.axes) for value in step.ins]
    # An operand may have more positions than are taken of it.
    summed = math.prod(
      min(shapes[0][i], shapes[1][j]) for i, j in zip(left, right, strict=True)
    )
    return summed * math.prod(kept_shape(units, step.outs[0].axes))
  if name == "conv_general_dilated":
    out_features = step.eqn.params["dimension_numbers"].rhs_spec[0]
    kernel = kept_shape(units, step.ins[1].axes)
    each = math.prod(n for i, n in enumerate(kernel) if i != out_features)
    return each * math.prod(kept_shape(units, step.outs[0].axes))
  if name == "cond":
    return max(multiply_adds(program, units) for program in step.inner)
  times: Any = step.eqn.params["length"] if name == "scan" else 1
  # The second function of a custom derivative is the derivative.
  return times * sum(multiply_adds(program, units) for program in step.inner[:1])
