"""Gradual magnitude pruning, GSM's strongest opponent (Zhu and Gupta, 2017).

`To prune, or not to prune <https://arxiv.org/abs/1710.01878>`_, but with one threshold
for the whole model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import gsm_optax


class GradualState(NamedTuple):
  """State of `prune_gradually`.

  Attributes:
    steps: int32, how many there were.
    mask: boolean tree like the params, False where weights are gone.
  """

  steps: jax.Array
  mask: Any


def prune_gradually(
  density: Callable[[Any], Any], every: int, steps: int
) -> optax.GradientTransformation:
  """The last link of a chain: zeroes the smallest weights, and holds them at zero.

  Args:
    density: the share of the prunable weights to keep at a step.
    every: steps between two choices of what to zero.
    steps: the step of the last choice, at which the density is the final one.
  """

  def init_fn(params: Any) -> GradualState:
    mask = jax.tree.map(lambda leaf: jnp.ones_like(leaf, bool), params)
    return GradualState(jnp.int32(0), mask)

  def update_fn(
    updates: Any, state: Any, params: Any = None
  ) -> tuple[Any, GradualState]:
    count = state.steps
    chooses = ((count % every == 0) & (count < steps)) | (count == steps)
    mask = jax.lax.cond(
      chooses,
      lambda: gsm_optax.magnitude_mask(params, density(count)),
      lambda: state.mask,
    )
    updates = jax.tree.map(
      lambda update, keep, weight: jnp.where(keep, update, -weight),
      updates,
      mask,
      params,
    )
    return updates, GradualState(count + 1, mask)

  return optax.GradientTransformation(init_fn, update_fn)
