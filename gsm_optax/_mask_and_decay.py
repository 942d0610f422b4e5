"""The first link of `gsm`: the gradients of active weights, and the decay of all."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from gsm_optax._selection import KeepTopSaliencyState, Selection
from gsm_optax._trees import is_hole


def mask_and_decay(
  selection: Selection,
  weight_decay: optax.ScalarOrSchedule,
  passive_weight_decay: optax.ScalarOrSchedule | None,
) -> optax.GradientTransformationExtraArgs:
  r"""Masks the gradients of passive weights and decays all prunable ones.

  .. math:: g \leftarrow B \circ g + \eta W + (1 - B) \circ (\eta' - \eta) W

  Args:
    selection: chooses the active weights.
    weight_decay: :math:`\eta`.
    passive_weight_decay: :math:`\eta'`; ``None`` means :math:`\eta`.
  """

  def update_fn(
    updates: optax.Updates,
    state: Any,
    params: optax.Params | None = None,
    **extra_args: Any,
  ) -> tuple[optax.Updates, KeepTopSaliencyState]:
    del extra_args
    active, new_state = selection.update(updates, state, params)
    rates: list[Any] = [
      rate(state.count) if callable(rate) else rate
      for rate in (weight_decay, passive_weight_decay)
    ]
    decay, passive_decay = rates

    def leaf_fn(gradient: Any, is_active: Any, weight: Any) -> Any:
      if is_active is True:  # a leaf that is not prunable
        return gradient
      if passive_decay is None:
        instead = jnp.zeros_like(gradient)
      else:
        instead = ((passive_decay - decay) * weight).astype(gradient.dtype)
      return jnp.where(is_active, gradient, instead) + decay * weight

    updates = jax.tree.map(leaf_fn, updates, active, params, is_leaf=is_hole)
    return updates, new_state

  return optax.GradientTransformationExtraArgs(cast(Any, selection.init), update_fn)
