"""Two rules around any optimizer: it trains active weights, passive ones shrink."""

from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from gsm_optax._branches import either
from gsm_optax._checks import is_known, known_number
from gsm_optax._pruning import apply_mask
from gsm_optax._saliency import Saliency
from gsm_optax._selection import KeepTopSaliencyState, top_saliency
from gsm_optax._structures import Leaves, Structure, left_of, with_structure
from gsm_optax._trees import Prunable, is_hole


class SparsifyState(NamedTuple):
  """State of `sparsify`.

  Attributes:
    selection: of the choice of active weights.
    inner: of the optimizer.
  """

  selection: KeepTopSaliencyState
  inner: Any


def sparsify(
  optimizer: optax.GradientTransformation,
  density: optax.ScalarOrSchedule = 0.1,
  *,
  passive_weight_decay: optax.ScalarOrSchedule | None = None,
  prunable: Prunable = None,
  saliency: Saliency | None = None,
  smoothing: float | jax.Array | None = None,
  select_by: Literal["gradient", "update"] = "gradient",
  mask_gradient: bool = False,
  prune_from: int | jax.Array | None = None,
  structure: Structure | None = None,
) -> optax.GradientTransformationExtraArgs:
  r"""Trains with any optimizer so that all but Q weights vanish.

  At each step the Q weights of greatest saliency are active (see `keep_top_saliency`).
  They get the optimizer's update; all others shrink, and do nothing else:

  .. math::
    u &= \text{the optimizer's update for } \frac{\partial L}{\partial W} \\
    W &\leftarrow W + B \circ u - \lambda \, (1 - B) \circ W

  In a chain with `keep_top_saliency` in front of AdamW, one decay would have to be
  strong enough for passive weights to vanish and weak enough for active ones to learn.
  Here :math:`\lambda` is the passive weights' alone. It is a share of the weight: in
  :math:`t` passive steps :math:`(1 - \lambda)^t` of it is left (`share_left` says how
  much for a schedule). If the learning rate falls, let this fall with it: a weight that
  is passive now and then has to regain what it lost.

  With `prune_from` the run ends pruned. `sparsify` with ``prune_from=0`` and a falling
  density is *gradual magnitude pruning* (Zhu and Gupta, 2017), with one threshold for
  the whole model:

  .. code-block:: python

    cubic = optax.polynomial_schedule(1.0, 0.1, 3, transition_steps=1000)
    every = 100  # steps between two choices of what goes
    gradual = lambda step: cubic(step // every * every)
    tx = gsm_optax.sparsify(optax.adamw(1e-3), gradual, prune_from=0)

  This is not `gsm` when the optimizer is `optax.sgd`: there the momentum of the steps
  in which a weight was active goes on moving it while it is passive, and its decay goes
  through the momentum.

  Args:
    optimizer: any gradient transformation whose updates are added to the params, with
      its learning rate and decay.
    density: the share of the prunable weights that is active, as in `gsm`.
    passive_weight_decay: :math:`\lambda`, in [0, 1], a scalar or a schedule of the step
      count, whose values are clipped. It must be given unless ``prune_from`` is 0. In
      bfloat16 weights stop shrinking below 0.004, as ``1 - 0.003`` rounds to 1.
    prunable: as in `gsm`. What is not prunable gets the optimizer's update.
    saliency: as in `keep_top_saliency`.
    smoothing: as in `keep_top_saliency`.
    select_by: whether a saliency is that of the gradient and the weight, or of the
      optimizer's update :math:`u` and the weight. On a language model the update was
      much the better one under AdamW, the gradient under Muon, whose updates are about
      as large for all weights of a matrix. Neither is better everywhere, so that the
      default is the paper's, the gradient.
    mask_gradient: whether the optimizer sees only the gradient of the active weights,
      and zeros for the others. Not possible with ``select_by="update"``, where its
      update decides which these are.
    prune_from: the step from which on pruned weights are zero, as in `gsm`. The
      optimizer no longer sees their gradients, which Muon, for one, would mix into the
      updates of the others.
    structure: what is kept together, as in `keep_top_saliency`.

  Returns:
    A transformation with a `SparsifyState`, that passes on extra arguments.

  Raises:
    ValueError: as in `keep_top_saliency`; or if `passive_weight_decay` is missing or
      known to be outside [0, 1], `optimizer` is not one, or `select_by` is neither of
      the two or excludes `mask_gradient`.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import gsm_optax
    >>> tx = gsm_optax.sparsify(optax.adamw(0.1), 0.5, passive_weight_decay=0.01)
    >>> params = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    >>> updates, _ = tx.update(jnp.ones((2, 2)), tx.init(params), params)
    >>> print((100 * updates).round())
    [[ -1.  -2.]
     [-10. -10.]]

  References:
    Ding et al., `Global Sparse Momentum SGD for Pruning Very Deep Neural Networks
    <https://arxiv.org/abs/1909.12778>`_, 2019; Zhu and Gupta, `To prune, or not to
    prune <https://arxiv.org/abs/1710.01878>`_, 2017.
  """
  if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
    raise ValueError(
      f"`optimizer` must be a gradient transformation, such as `optax.adam(1e-3)`, not"
      f" {optimizer!r}."
    )
  _check(passive_weight_decay, select_by, mask_gradient, prune_from)
  selection = top_saliency(
    density, prunable, saliency, smoothing, prune_from, structure
  )
  inner = optax.with_extra_args_support(optimizer)
  chosen_from = with_structure(prunable, structure)

  def init_fn(params: Any) -> SparsifyState:
    return SparsifyState(selection.init(params), inner.init(params))

  def shrinkage(count: jax.Array) -> Any:
    decay: Any = passive_weight_decay
    if decay is None:
      return 1.0
    if callable(decay):  # beyond 1 passive weights would grow
      share: Any = decay(count)
      decay = jnp.clip(share, 0.0, 1.0)
    return decay if prune_from is None else jnp.where(count >= prune_from, 1.0, decay)

  def of_what_is_left(gradients: Any, params: Any, count: jax.Array) -> Any:
    """Once the zeros stay, the gradient without theirs."""
    if prune_from is None or mask_gradient or params is None:
      return gradients
    where = Leaves.of(chosen_from, params, gradients)
    leaves, weights = where.tree.flatten_up_to(gradients), where.of_tree(params)
    is_pruned = count > prune_from

    def left() -> list[Any]:
      return left_of(structure, where, weights)

    def all_weights() -> list[Any]:
      return [jnp.ones(leaf.shape, bool) for leaf in weights]

    # Single weights are compared with zero in passing; units are added up.
    masks = left() if structure is None else either(is_pruned, left, all_weights)
    for place, mask in zip(where.places, masks, strict=True):
      leaves[place] = jnp.where(mask | ~is_pruned, leaves[place], 0)
    return where.tree.unflatten(leaves)

  def update_fn(
    updates: optax.Updates,
    state: Any,
    params: optax.Params | None = None,
    **extra_args: Any,
  ) -> tuple[optax.Updates, SparsifyState]:
    gradients, old = updates, state
    seen = of_what_is_left(gradients, params, old.selection.count)
    if select_by == "update":
      updates, state = inner.update(seen, old.inner, params, **extra_args)
      active, chosen = selection.update(updates, old.selection, params)
    else:
      active, chosen = selection.update(gradients, old.selection, params)
      seen = apply_mask(gradients, active) if mask_gradient else seen
      updates, state = inner.update(seen, old.inner, params, **extra_args)
    share = shrinkage(old.selection.count)

    def leaf_fn(update: Any, is_active: Any, weight: Any) -> Any:
      if is_hole(update) or is_active is True:  # a leaf that is not prunable
        return update
      # In the wider type: -w in half precision would leave a rest of w.
      dtype = jnp.result_type(update, weight)
      return jnp.where(is_active, update, (-share * weight).astype(dtype))

    updates = jax.tree.map(leaf_fn, updates, active, params, is_leaf=is_hole)
    return updates, SparsifyState(chosen, state)

  return optax.GradientTransformationExtraArgs(cast(Any, init_fn), update_fn)


def _check(
  passive_weight_decay: Any, select_by: Any, mask_gradient: bool, prune_from: Any
) -> None:
  prunes_at_once = prune_from is not None and is_known(prune_from) and prune_from == 0
  if passive_weight_decay is None and not prunes_at_once:
    raise ValueError(
      "`passive_weight_decay` must be given: the share of itself that a passive weight"
      " loses in a step, such as 0.01, or a schedule."
    )
  number = known_number(
    "passive_weight_decay", passive_weight_decay, "a number in [0, 1] or a schedule"
  )
  if number is not None and not 0 <= number <= 1:
    raise ValueError(
      f"`passive_weight_decay` must be in [0, 1], but it is {passive_weight_decay}: it"
      " is the share of itself that a passive weight loses in a step."
    )
  if mask_gradient is not True and mask_gradient is not False:
    raise ValueError(f"`mask_gradient` must be True or False, not {mask_gradient!r}.")
  if not isinstance(select_by, str) or select_by not in ("gradient", "update"):
    raise ValueError(f"`select_by` must be 'gradient' or 'update', not {select_by!r}.")
  if select_by == "update" and mask_gradient:
    raise ValueError(
      "`mask_gradient` hides from the optimizer what is not active, which cannot be"
      " known before its update if `select_by` is 'update'."
    )
