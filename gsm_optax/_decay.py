"""More weight decay for the weights that are passive in a step."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def add_passive_decay(extra: optax.ScalarOrSchedule) -> optax.GradientTransformation:
  r"""Adds decay where a step's gradient was zeroed: :math:`g \leftarrow g + \eta W`.

  It goes by the update itself, which is exactly zero for a passive weight, and behind
  `keep_top_saliency` for no other but one whose own gradient was zero.

  Args:
    extra: :math:`\eta`, a scalar or a schedule of the step count.
  """

  def init_fn(params: optax.Params) -> Any:
    del params
    if not callable(extra):
      return optax.EmptyState()
    return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

  def update_fn(
    updates: optax.Updates,
    state: Any,
    params: optax.Params | None = None,
  ) -> tuple[optax.Updates, Any]:
    decay: Any = extra(state.count) if callable(extra) else extra

    def decayed(update: Any, weight: Any) -> Any:
      if update is None:  # a hole, as in Equinox's trees
        return None
      return jnp.where(update == 0, decay * weight, update).astype(update.dtype)

    updates = jax.tree.map(decayed, updates, params, is_leaf=lambda leaf: leaf is None)
    if callable(extra):
      count: Any = optax.safe_increment(state.count)
      state = optax.ScaleByScheduleState(count)
    return updates, state

  return optax.GradientTransformation(init_fn, update_fn)


def difference(
  first: optax.ScalarOrSchedule, second: optax.ScalarOrSchedule
) -> optax.ScalarOrSchedule:
  """``first - second``, either of which may be a schedule."""
  if not callable(first) and not callable(second):
    return first - second

  def schedule(count: Any) -> Any:
    values: list[Any] = [
      part(count) if callable(part) else part for part in (first, second)
    ]
    return values[0] - values[1]

  return schedule
