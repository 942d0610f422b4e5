"""GSM without second chances: the active set stays as it is after some steps.

What the paper compares GSM with to show that weights must be able to come back.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import gsm_optax


class FixedState(NamedTuple):
  """State of `fix_active_set`.

  Attributes:
    inner: of the selection at each step.
    saliency: the sum of each weight's saliencies in the steps before `after`.
    mask: what is active from then on.
  """

  inner: Any
  saliency: Any
  mask: Any


def fix_active_set(density: float, after: int) -> optax.GradientTransformationExtraArgs:
  """`keep_top_saliency` for `after` steps; then the same weights at every step.

  Those are the Q with the greatest mean saliency over the steps before, which is kinder
  to it than the choice of any one batch.
  """
  select = gsm_optax.keep_top_saliency(density)

  def init_fn(params: Any) -> FixedState:
    return FixedState(
      select.init(params),
      jax.tree.map(jnp.zeros_like, params),
      jax.tree.map(lambda leaf: jnp.ones_like(leaf, bool), params),
    )

  def update_fn(
    updates: Any, state: Any, params: Any = None, **extra_args: Any
  ) -> tuple[Any, FixedState]:
    del extra_args
    count = state.inner.count

    def choose(state: FixedState) -> tuple[Any, FixedState]:
      chosen, inner = select.update(updates, state.inner, params)
      saliency = jax.tree.map(
        lambda total, g, w: total + gsm_optax.first_order_taylor(g, w),
        *(state.saliency, updates, params),
      )
      return chosen, FixedState(inner, saliency, state.mask)

    def keep(state: FixedState) -> tuple[Any, FixedState]:
      mask = jax.lax.cond(
        count == after,
        lambda: gsm_optax.magnitude_mask(state.saliency, density),
        lambda: state.mask,
      )
      inner = state.inner._replace(count=count + 1)
      return gsm_optax.apply_mask(updates, mask), FixedState(
        inner, state.saliency, mask
      )

    return jax.lax.cond(count < after, choose, keep, state)

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
