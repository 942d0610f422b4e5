"""The choice of the weights that are active in a step, by their saliency."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from gsm_optax._branches import either
from gsm_optax._checks import check_step
from gsm_optax._saliency import Saliency, Scoring, check_smoothing
from gsm_optax._structures import (
  Leaves,
  Structure,
  check_choice,
  count_units,
  nonzero_of,
  top_of,
  with_structure,
)
from gsm_optax._trees import (
  Prunable,
  match,
  prunable_leaves,
  prunable_tree,
)


class KeepTopSaliencyState(NamedTuple):
  """State of `keep_top_saliency`: three scalars and, with smoothing, an average.

  Attributes:
    count: int32, the number of updates so far.
    threshold: float32, the saliency that a weight had to reach in the last update.
    passes: int32, how many times the last update read all saliencies to find it; four
      or five as a rule. Once the network is pruned, it is 0.
    average: with `smoothing`, a tree like the params with the average saliency of each
      prunable weight, float32, and `optax.MaskedNode` for other leaves; else None.
  """

  count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
  threshold: jax.Array
  passes: jax.Array
  average: Any = None


class Selection(NamedTuple):
  """Chooses the active weights in each step, for links that treat them differently.

  Attributes:
    init: ``params -> state``.
    update: ``(gradients, state, params) -> (active, state)``, where `active` has the
      structure of the gradients: a boolean array for a prunable leaf, else True.
  """

  init: Callable[[Any], KeepTopSaliencyState]
  update: Callable[[Any, Any, Any], tuple[Any, KeepTopSaliencyState]]


def top_saliency(
  density: optax.ScalarOrSchedule | None,
  prunable: Prunable,
  saliency: Saliency | None,
  smoothing: float | jax.Array | None,
  prune_from: int | jax.Array | None = None,
  structure: Structure | None = None,
) -> Selection:
  """Selects the Q weights of greatest saliency; arguments as in `keep_top_saliency`.

  From the step `prune_from` on it selects the weights that are not zero, or, if these
  are more than Q, the Q of greatest magnitude.
  """
  check_choice(density, structure)
  check_smoothing(smoothing)
  check_step("prune_from", prune_from)
  scoring = Scoring.by(saliency, smoothing)
  prunable = with_structure(prunable, structure)

  def init(params: Any) -> KeepTopSaliencyState:
    leaves = jax.tree.leaves(params)
    # `optax.tree.map_params` passes a placeholder that cannot be checked: a node
    # without leaves, or whose leaves are not arrays.
    is_placeholder = not any(hasattr(leaf, "shape") for leaf in leaves)
    if not is_placeholder:
      found = prunable_leaves(prunable, params)
      if structure is None:
        n = sum(leaf.size for leaf in found)
      else:
        n = count_units(structure, Leaves.of(prunable, params), found)
      check_choice(density, structure, n)
    average = None
    if smoothing is not None:
      average = params if is_placeholder else _zeros_for(prunable, params)
    return KeepTopSaliencyState(
      jnp.zeros((), jnp.int32),
      jnp.zeros((), jnp.float32),
      jnp.zeros((), jnp.int32),
      average,
    )

  def update(
    gradients: Any, state: KeepTopSaliencyState, params: Any
  ) -> tuple[Any, KeepTopSaliencyState]:
    if params is None:
      raise ValueError(
        "The saliency of a weight is |gradient * weight|: pass the params too, as in"
        " `update(gradients, state, params)`."
      )
    where = Leaves.of(prunable, params, gradients)
    tree, places = where
    leaves = tree.flatten_up_to(gradients)
    prunables = prunable_leaves(True, where.of_tree(params))
    averages = [None] * len(leaves)
    if smoothing is not None:
      averages = match(state.average, gradients)
    now = density(state.count) if callable(density) else density

    def by_saliency() -> Any:
      scored = [
        scoring.operands(leaves[i], weight, averages[i])
        for i, weight in zip(places, prunables, strict=True)
      ]
      operands = [arrays for arrays, _ in scored]
      top = top_of(structure, where, operands, scoring.score, now, state.threshold)
      return *top, [average for _, average in scored]

    def by_magnitude() -> Any:
      masks = nonzero_of(structure, where, prunables, now)
      passes = jnp.zeros_like(state.passes)
      return masks, state.threshold, passes, [averages[i] for i in places]

    if prune_from is None:
      chosen_now = by_saliency()
    else:
      is_pruned = state.count >= prune_from
      chosen_now = either(is_pruned, by_magnitude, by_saliency)
    masks, threshold, passes, new_averages = chosen_now
    active: list[Any] = [True] * len(leaves)
    for i, mask, average in zip(places, masks, new_averages, strict=True):
      active[i] = mask
      averages[i] = average
    return tree.unflatten(active), KeepTopSaliencyState(
      cast(jax.Array, optax.safe_increment(state.count)),
      threshold,
      passes,
      None if smoothing is None else tree.unflatten(averages),
    )

  return Selection(init, update)


def _zeros_for(prunable: Prunable, params: Any) -> Any:
  return jax.tree.map(
    lambda leaf, is_chosen: (
      jnp.zeros_like(leaf, jnp.float32) if is_chosen else optax.MaskedNode()
    ),
    params,
    prunable_tree(prunable, params),
  )
