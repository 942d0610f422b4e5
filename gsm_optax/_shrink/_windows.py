"""Reductions, windows, sorts and sums so far: along some axes, whose positions stay."""

from collections.abc import Sequence
from typing import Any

from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Rule, Step
from gsm_optax._shrink._axes import united
from gsm_optax._shrink._bind import computed, run_as_it_is
from gsm_optax._shrink._values import Axis, Uniform, Value, unknown

KEEPS = frozenset(
  [
    *("reduce_max", "reduce_min", "reduce_and", "reduce_or", "reduce_window_max"),
    *("reduce_window_min", "sort", "top_k", "cummax", "cummin"),
  ]
)
"""What makes of equal values the same value."""

ZEROS = frozenset(["reduce_prod", "cumsum", "cumprod", "reduce_window_sum"])
"""What makes zeros of zeros."""


def _passed(eqn: core.JaxprEqn, uniform: Uniform, shape: Sequence[int]) -> Uniform:
  """What is known of the results within slices of an array, from the slices."""
  name = eqn.primitive.name
  # Of no elements at all the result is 0, 1 or an infinity, whatever is known of them.
  if name in KEEPS and 0 not in shape and not _empty_windows(eqn.params):
    return uniform
  if name in ZEROS and (0 not in shape or name != "reduce_prod"):
    return uniform.only_zeros()
  return unknown(uniform.known.shape[1])


def _empty_windows(params: Any) -> bool:
  """Whether a window may hold nothing but padding."""
  if "window_dimensions" not in params:
    return False
  dilations = (*params["base_dilation"], *params["window_dilation"])
  windows = zip(params["window_dimensions"], params["padding"], strict=True)
  return any(n != 1 for n in dilations) or any(max(each) >= n for n, each in windows)


def _along(eqn: core.JaxprEqn, rank: int) -> set[int]:
  """The axes whose positions come together."""
  params = eqn.params
  if "window_dimensions" in params:
    windows = zip(
      *(params[f"window_{name}"] for name in ("dimensions", "strides", "dilation")),
      *(params["padding"], params["base_dilation"]),
      strict=True,
    )
    return {i for i, each in enumerate(windows) if each != (1, 1, 1, (0, 0), 1)}
  if "axes" in params:
    return set(params["axes"])
  axis = params.get("axis", params.get("dimension"))
  return {rank - 1 if axis is None else axis % rank}


def _analyse(
  analysis: Analysis, eqn: core.JaxprEqn, ins: Sequence[Value], key: Key
) -> Step:
  name = eqn.primitive.name
  arrays = [value for value in ins if value.axes]
  along = _along(eqn, len(arrays[0].axes))
  for value in arrays:
    value.fix(analysis.units, name, sorted(along))
  drops = name.startswith(("reduce_", "arg")) and "window" not in name
  outs: list[Value] = []
  for number, var in enumerate(eqn.outvars):
    aval: Any = var.aval
    own = arrays[min(number, len(arrays) - 1)]
    axes: list[Axis] = []
    sizes = iter(aval.shape)
    for axis in range(len(own.axes)):
      if axis in along:
        if not drops:
          n = next(sizes)
          axes.append(Axis(analysis.units.staying(n, name), unknown(n)))
        continue
      next(sizes)
      labels = united(analysis.units, [value.axes[axis] for value in arrays], name)
      if name == "top_k" and number == 1:  # these are indices
        uniform = unknown(len(labels))
      else:
        uniform = _passed(eqn, own.uniform(axis), own.shape)
      axes.append(Axis(labels, uniform))
    spoilt = own.spoilt or (name if name not in KEEPS | ZEROS else "")
    array = computed(eqn, ins) if len(eqn.outvars) == 1 else None
    outs.append(Value(tuple(axes), unknown(1), aval.dtype, array, spoilt))
  return Step(key, eqn, ins, outs, [])


OTHERS = ("argmax", "argmin", "cumlogsumexp", "reduce_xor")
RULES = dict.fromkeys((*KEEPS, *ZEROS, *OTHERS), Rule(_analyse, run_as_it_is))
