"""Pruning within the run: from a step on, what is zero stays so."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from gsm_optax._branches import either
from gsm_optax._structures import Leaves, Structure, nonzero_of, with_structure
from gsm_optax._trees import Prunable


class PruneFromState(NamedTuple):
  """State of the link that prunes within the run.

  Attributes:
    count: int32, the number of updates so far.
  """

  count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]


def zero_the_rest(
  step: int | jax.Array,
  density: optax.ScalarOrSchedule,
  prunable: Prunable,
  structure: Structure | None = None,
) -> optax.GradientTransformationExtraArgs:
  r"""The last link of a chain: from `step` on, updates leave Q weights and no others.

  .. math:: u \leftarrow M \circ u - (1 - M) \circ W

  with :math:`M` True for the weights that are not zero, or, if these are more than Q,
  for the Q of greatest magnitude; with a `structure`, likewise for its units. It
  follows from the params alone: no mask is kept.
  """
  prunable = with_structure(prunable, structure)

  def init_fn(params: Any) -> PruneFromState:
    del params
    return PruneFromState(jnp.zeros((), jnp.int32))

  def update_fn(
    updates: optax.Updates,
    state: Any,
    params: optax.Params | None = None,
    **extra_args: Any,
  ) -> tuple[optax.Updates, PruneFromState]:
    del extra_args
    where = Leaves.of(prunable, params, updates)
    tree, places = where
    leaves, weights = (tree.flatten_up_to(each) for each in (updates, params))
    now = density(state.count) if callable(density) else density

    # In the wider type: -w, rounded to the type of updates in half precision, would
    # leave a rest.
    steps = [leaves[i].astype(jnp.result_type(leaves[i], weights[i])) for i in places]

    def pruned() -> list[Any]:
      masks = nonzero_of(structure, where, [weights[i] for i in places], now)
      return [
        jnp.where(mask, update, -weights[i].astype(update.dtype))
        for i, update, mask in zip(places, steps, masks, strict=True)
      ]

    ends = either(state.count >= step, pruned, lambda: steps)
    for i, end in zip(places, ends, strict=True):
      leaves[i] = end
    count = cast(jax.Array, optax.safe_increment(state.count))
    return tree.unflatten(leaves), PruneFromState(count)

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)
