"""Global Sparse Momentum SGD: mask, decay, momentum, learning rate."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from gsm_optax._checks import check_not_negative, check_share
from gsm_optax._saliency import Saliency
from gsm_optax._selection import KeepTopSaliencyState, Selection, top_saliency
from gsm_optax._trees import Prunable, is_hole


def gsm(
  learning_rate: optax.ScalarOrSchedule,
  density: optax.ScalarOrSchedule = 0.1,
  momentum: float | jax.Array | None = 0.98,
  weight_decay: optax.ScalarOrSchedule = 1e-4,
  *,
  nesterov: bool = False,
  prunable: Prunable = None,
  accumulator_dtype: Any | None = None,
  saliency: Saliency | None = None,
  smoothing: float | jax.Array | None = None,
  passive_weight_decay: optax.ScalarOrSchedule | None = None,
) -> optax.GradientTransformationExtraArgs:
  r"""Global Sparse Momentum SGD: trains a network so that all but Q weights vanish.

  At every step the gradient reaches only the Q prunable weights with the greatest
  saliency `T(w)` on the current batch (see `keep_top_saliency`), while all prunable
  weights decay. Gradient and decay both go through the momentum:

  .. math::
    Z &\leftarrow \beta Z + \eta W + B \circ \frac{\partial L}{\partial W} \\
    W &\leftarrow W - \alpha Z

  with learning rate :math:`\alpha`, momentum :math:`\beta` and weight decay
  :math:`\eta`. Leaves that are not prunable (biases, normalisation) are trained with
  their full gradient and no decay.

  A passive weight shrinks by about :math:`\alpha \eta / (1 - \beta)` of itself per
  step, so it takes a high momentum and enough steps at a high learning rate to make it
  vanish. After training, `gsm_optax.prune` with the same density sets the vanished
  weights to exactly zero.

  Keep the params in float32 (or float16): in bfloat16 a step's shrinkage is less than
  half a unit in the last place, so nothing vanishes. Also, a kernel initialised to zero
  has zero saliency and may never be chosen: start it from small values instead, or
  exclude it with `prunable`.

  Args:
    learning_rate: a scalar or a schedule of the step count.
    density: the share of the prunable weights to keep, Q / n: a number in (0, 1], a
      traced scalar, or a schedule of the step count. The compression is 1 / density.
    momentum: in [0, 1); 0.98 to 0.99 makes weights vanish quickly enough. ``None`` is
      SGD without momentum, and without its state.
    weight_decay: a scalar or a schedule of the step count.
    nesterov: whether to use Nesterov momentum, as `torch.optim.SGD` defines it.
    prunable: which leaves are pruned, in the form of `optax.masked`'s ``mask``.
      ``None`` selects the leaves with two or more dimensions. These include embeddings,
      the biases of Flax's attention, and biases stacked over layers: exclude them if
      need be.
    accumulator_dtype: the momentum's type; ``None`` is the params' own.
    saliency: as in `keep_top_saliency`; ``None`` is the paper's.
    smoothing: as in `keep_top_saliency`; ``None``, as in the paper, does not average.
    passive_weight_decay: a scalar or a schedule that replaces `weight_decay` as the
      decay :math:`\eta` of prunable weights that are passive in a step. It makes them
      vanish soon at a moderate momentum, without shrinking the active ones. ``None``,
      as in the paper, decays both alike.

  Returns:
    A transformation with the state of an `optax.chain`: a `KeepTopSaliencyState` (three
    scalars, without smoothing), the momentum (one array per leaf), and the step count
    of a learning-rate schedule.

  Raises:
    ValueError: as in `keep_top_saliency`, or if the learning rate or a decay is known
      to be negative, or the momentum to be outside [0, 1).

  Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> import gsm_optax
    >>> key = jax.random.key(0)
    >>> inputs = jax.random.normal(key, (64, 20))
    >>> params = {"kernel": jax.random.normal(key, (20, 1)), "bias": jnp.zeros(1)}
    >>> targets = inputs[:, :2] @ jnp.ones((2, 1))  # two of the twenty inputs matter
    >>> def loss_fn(params):
    ...   outputs = inputs @ params["kernel"] + params["bias"]
    ...   return jnp.mean((outputs - targets) ** 2)
    >>> tx = gsm_optax.gsm(0.01, density=0.1, momentum=0.9, weight_decay=1e-2)
    >>> def step(_, carry):
    ...   params, state = carry
    ...   gradients = jax.grad(loss_fn)(params)
    ...   updates, state = tx.update(gradients, state, params)
    ...   return optax.apply_updates(params, updates), state
    >>> carry = (params, tx.init(params))
    >>> params, state = jax.lax.fori_loop(0, 2000, step, carry)
    >>> pruned = gsm_optax.prune(params, density=0.1)
    >>> [int(i) for i in jnp.flatnonzero(pruned["kernel"][:, 0])]
    [0, 1]

  References:
    Ding et al., `Global Sparse Momentum SGD for Pruning Very Deep Neural Networks
    <https://arxiv.org/abs/1909.12778>`_, 2019, equations 5 to 8.
  """
  check_not_negative("learning_rate", learning_rate)
  check_not_negative("weight_decay", weight_decay)
  check_not_negative("passive_weight_decay", passive_weight_decay)
  check_share("momentum", momentum)
  selection = top_saliency(density, prunable, saliency, smoothing)
  links: list[optax.GradientTransformation] = [
    mask_and_decay(selection, weight_decay, passive_weight_decay)
  ]
  if momentum is not None:
    links.append(optax.trace(momentum, nesterov, accumulator_dtype))
  return optax.chain(*links, optax.scale_by_learning_rate(learning_rate))


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
