"""The transformation that keeps only the gradients of the most salient weights."""

from typing import Any, cast

import jax
import optax

from gsm_optax._pruning import apply_mask
from gsm_optax._saliency import Saliency
from gsm_optax._selection import KeepTopSaliencyState, top_saliency
from gsm_optax._structures import Structure
from gsm_optax._trees import Prunable


def keep_top_saliency(
  density: optax.ScalarOrSchedule | None = None,
  *,
  prunable: Prunable = None,
  saliency: Saliency | None = None,
  smoothing: float | jax.Array | None = None,
  structure: Structure | None = None,
) -> optax.GradientTransformationExtraArgs:
  r"""Lets the gradient reach only the weights that matter most for the current batch.

  A weight's saliency is the first-order Taylor estimate of how much the loss would
  change without it. The gradient passes for the Q weights with the greatest saliency
  among all prunable weights of the model, and is zeroed for the others:

  .. math::
    T(w) &= \left| \frac{\partial L}{\partial w} \, w \right| \\
    B &= \begin{cases}
      1 & T(w) \ge \text{the Q-th greatest } T \\ 0 & \text{otherwise} \end{cases}
      \qquad Q = \lfloor density \cdot n \rfloor \\
    g &\leftarrow B \circ \frac{\partial L}{\partial w}

  The choice is made anew at every step: a weight left passive by one batch may be
  active for the next. Followed by weight decay and momentum, as in `gsm`, this makes
  rarely chosen weights vanish. Ties at the threshold pass: if fewer than Q saliencies
  are non-zero, the threshold is 0 and every gradient passes. (To keep pruned weights at
  zero, end the chain with `freeze_pruned`.)

  Place it first in a chain: it needs the raw gradient and the params.

  A NaN saliency is not ranked, and its gradient passes unchanged: the other weights are
  masked as if it were zero, and `optax.apply_if_finite`, or any other check for NaN,
  still sees it. An infinite saliency ranks above all finite ones. If fewer than Q
  saliencies can be ranked, every gradient passes.

  Args:
    density: the share of the prunable weights to keep active, in (0, 1]: a Python
      number, a scalar that may be traced, or a schedule of the step count. Values known
      only at run time are clipped so that 1 <= Q <= n. It must be given, but for
      `n_of_m`.
    prunable: which leaves take part, in the form of `optax.masked`'s ``mask``: a pytree
      of booleans with the structure of the params (or a prefix of it), or a callable
      from the params to one. ``None`` selects `kernels`. The others pass
      unchanged.
    saliency: ``(gradient, weight) -> scores``, called on each prunable leaf. The scores
      have the leaf's shape and are floating-point; negative ones count as 0. ``None``
      is the paper's `first_order_taylor`; `magnitude` and `gradient_magnitude` are
      alternatives. (`optax.inject_hyperparams` treats functions as schedules, so
      include ``"saliency"`` in its ``static_args``.)
    smoothing: ``None``, or the decay rate :math:`d`, in [0, 1), of a moving average of
      the saliencies, by which weights are then chosen:
      :math:`\bar T \leftarrow d \bar T + (1 - d) T`. It takes one float32 per
      prunable weight. (Dividing by :math:`1 - d^t`, as Adam does, would not change the
      order.) A saliency that is not finite leaves the average unchanged, and its
      gradient passes.
    structure: what is active or passive together: `blocks`, `n_of_m`, `channels`, or a
      `Structure` of your own. `density` is then the share of its units, a unit's score
      the sum of its weights' saliencies, and Q counts units. ``None``: single weights.

  Returns:
    A transformation whose updates have the gradients' structure, shapes and types, and
    whose state is a `KeepTopSaliencyState`.

  Raises:
    ValueError: immediately, if the density is known to be outside (0, 1] or the
      smoothing outside [0, 1), or if either is not a number; from ``init``, if the
      density is so small that Q is 0, if nothing in the params is prunable, if a
      prunable leaf is not floating-point, or if `prunable` does not fit the params;
      from ``update``, if the params are missing or the scores are not as `saliency`
      describes.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> params = {"kernel": jnp.array([[1.0, -2.0], [3.0, 4.0]]), "bias": jnp.ones(2)}
    >>> gradients = {"kernel": jnp.array([[5., 1.], [-1., 1.]]), "bias": jnp.ones(2)}
    >>> tx = gsm_optax.keep_top_saliency(density=0.5)
    >>> updates, state = tx.update(gradients, tx.init(params), params)
    >>> print(updates["kernel"])  # the saliencies are 5, 2, 3 and 4
    [[5. 0.]
     [0. 1.]]
    >>> print(updates["bias"], state.threshold)
    [1. 1.] 4.0

  References:
    Ding et al., `Global Sparse Momentum SGD for Pruning Very Deep Neural Networks
    <https://arxiv.org/abs/1909.12778>`_, 2019, equations 5 to 7.
  """
  selection = top_saliency(density, prunable, saliency, smoothing, structure=structure)

  def update_fn(
    updates: optax.Updates,
    state: Any,
    params: optax.Params | None = None,
    **extra_args: Any,
  ) -> tuple[optax.Updates, KeepTopSaliencyState]:
    del extra_args
    active, state = selection.update(updates, state, params)
    return apply_mask(updates, active), state

  return optax.GradientTransformationExtraArgs(cast(Any, selection.init), update_fn)
