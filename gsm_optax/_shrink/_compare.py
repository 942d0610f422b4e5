"""Whether the smaller function's outputs are those of the larger one."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsm_optax._shrink._trace import ApplyFn, Traced


def check_same(found: Any, wanted: Any, tolerance: float, chosen: bool) -> None:
  """Compares the outputs of the smaller function with those of the larger one.

  Args:
    found: outputs of the smaller function.
    wanted: outputs of the larger one.
    tolerance: see `gsm_optax.shrink`.
    chosen: whether the caller chose the units to remove, or else they were dead.

  Raises:
    ValueError: if they differ by more than the tolerance.
  """
  error = difference(found, wanted)
  if error <= tolerance:
    return
  if not _finite_where(found, wanted):
    raise ValueError(
      "With zeros in place of what keep leaves out, apply_fn returns inf or NaN, as"
      " where weights are divided by their norm, and the smaller function returns"
      " numbers: add a small eps to what is divided by, or keep these units."
      if chosen
      else "apply_fn returns inf or NaN where the smaller function returns numbers, as"
      " where a unit of zeros is divided by its norm: add a small eps to what is"
      " divided by, or give inputs for which the outputs are finite."
    )
  raise ValueError(
    f"The outputs of the smaller function differ by {error:.1e} of the largest, more"
    f" than rounding ({tolerance:.0e}). Where a choice is made, as by argmax,"
    " rounding may change it: give a larger tolerance. Else please report the"
    " function."
  )


def _finite_where(found: Any, wanted: Any) -> bool:
  """Whether what is wanted is finite wherever what was found is."""
  return all(
    np.isfinite(other)[np.isfinite(one)].all()
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
  )


def rounding(traced: Traced) -> float:
  """What rounding may change of an output, as a share of the largest."""
  kinds = [var.aval for eqn in traced.closed.jaxpr.eqns for var in eqn.outvars]
  kinds += list(traced.params)
  worst = max(
    float(jnp.finfo(kind.dtype).eps)
    for kind in kinds
    if hasattr(kind, "dtype") and jnp.issubdtype(kind.dtype, jnp.inexact)
  )
  if jax.default_backend() != "cpu":  # matrices may be multiplied in fewer bits
    worst = max(worst, 2.0**-10)
  return 1e3 * worst if worst < 1e-5 else 30 * worst


def difference(a: Any, b: Any) -> float:
  """The largest difference of two trees, as a share of the largest number.

  NaN equals NaN, and is infinitely far from all else. Of whole numbers it is the share
  that differs.
  """
  worst = 0.0
  for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    one_dtype = jnp.result_type(one)
    is_complex = jnp.iscomplexobj(one) or jnp.iscomplexobj(other)
    kind = np.complex128 if is_complex else np.float64
    one, other = np.asarray(one, kind), np.asarray(other, kind)
    differ = (one != other) & ~(np.isnan(one) & np.isnan(other))
    if differ.any() and not jnp.issubdtype(one_dtype, jnp.inexact):
      worst = max(worst, float(differ.mean()))
    elif differ.any():
      scale = np.max(np.abs(other), initial=0.0, where=np.isfinite(other))
      error = np.abs(one[differ] - other[differ]) / (scale or 1.0)
      worst = max(worst, float(np.where(np.isnan(error), np.inf, error).max()))
  return worst


def fits(
  apply_fn: ApplyFn,
  small_apply_fn: ApplyFn,
  params: Any,
  inputs: Sequence[Any],
  tolerance: float,
) -> bool:
  """Whether the user's own function computes the same of the smaller params.

  Of these inputs, and of random ones: zeros make all functions alike.
  """
  key = jax.random.key(0)
  other = jax.tree.map(
    lambda leaf: (
      jax.random.normal(key, jnp.shape(leaf), jnp.result_type(leaf))
      if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
      else leaf
    ),
    tuple(inputs),
  )
  if not all(map(jnp.size, jax.tree.leaves(inputs))):
    return False  # an empty output says nothing
  small_function, function = jax.jit(small_apply_fn), jax.jit(apply_fn)
  try:
    return all(
      difference(function(params, *each), small_function(params, *each)) <= tolerance
      for each in (tuple(inputs), other)
    )
  except Exception:  # whatever a model raises for shapes that are not its own
    return False
