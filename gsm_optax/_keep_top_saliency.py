"""The gradient of the weights that matter most for a batch, and no other."""

from typing import Any, cast

import jax
import optax

from gsm_optax._pruning import apply_mask
from gsm_optax._saliency import Saliency
from gsm_optax._selection import KeepTopSaliencyState, top_saliency
from gsm_optax._trees import Prunable


def keep_top_saliency(
  density: optax.ScalarOrSchedule,
  *,
  prunable: Prunable = None,
  saliency: Saliency | None = None,
  smoothing: float | jax.Array | None = None,
) -> optax.GradientTransformationExtraArgs:
  r"""Lets the gradient reach only the weights that matter most for the current batch.

  Each weight's saliency is the first-order Taylor estimate of how much the loss would
  change without it. The gradient of the Q weights with the greatest saliency, among
  all prunable weights of the model together, passes; that of the others is zeroed:

  .. math::
    T(w) &= \left| \frac{\partial L}{\partial w} \, w \right| \\
    B &= \begin{cases}
      1 & T(w) \ge \text{the Q-th greatest } T \\ 0 & \text{otherwise} \end{cases}
      \qquad Q = \lfloor density \cdot n \rfloor \\
    g &\leftarrow B \circ \frac{\partial L}{\partial w}

  The choice is made anew at every step: a weight left passive by one batch may be
  active for the next. Followed by weight decay and momentum, as in `gsm`, this makes
  the weights that are seldom chosen vanish. Ties with the threshold pass: if fewer than
  Q saliencies are not zero, the threshold is 0 and every gradient does. (To keep pruned
  weights at zero, end the chain with `freeze_pruned`.)

  Place it first in a chain: it needs the raw gradient, and the params.

  A saliency that is not a number takes no place among the Q, and its gradient passes
  as it is: the masks of the other weights are those for a zero there, and
  `optax.apply_if_finite`, or whatever else watches for NaN, still sees it. An infinite
  saliency is the greatest. If Q exceeds the number of numbers, all of them pass.

  Args:
    density: the share of the prunable weights to keep active, in (0, 1]: a Python
      number, a scalar that may be traced, or a schedule of the step count. Values that
      are only known while running are clipped so that 1 <= Q <= n.
    prunable: which leaves take part, as `optax.masked` takes its ``mask``: a pytree of
      booleans with the structure of the params (or a prefix of it), or a callable that
      makes one of the params. ``None``: the leaves with two or more dimensions. The
      others pass unchanged.
    saliency: ``(gradient, weight) -> scores``, called for each prunable leaf; of its
      shape, floating-point and not negative (what is counts as 0). ``None``: the
      paper's, `first_order_taylor`. Others are `magnitude` and `gradient_magnitude`.
      (Under `optax.inject_hyperparams`, which takes functions for schedules, name
      ``"saliency"`` among its ``static_args``.)
    smoothing: ``None``, or the decay rate :math:`d` of a moving average of the
      saliencies over the steps, in [0, 1), by which weights are then chosen:
      :math:`\bar T \leftarrow d \bar T + (1 - d) T`. It takes one float32 per
      prunable weight. (Dividing by :math:`1 - d^t`, as Adam does, would change no
      order.) A saliency that is not finite leaves the average as it is, and its
      gradient passes.

  Returns:
    A transformation whose updates have the gradients' structure, shapes and types, and
    whose state is a `KeepTopSaliencyState`.

  Raises:
    ValueError: at once for a density or a smoothing that is known to be outside (0, 1]
      or [0, 1), or to be no number; by ``init`` for a density so small that Q is 0, for
      params of which nothing is prunable, for prunable leaves that do not hold
      floating-point numbers and for a `prunable` that does not fit; by ``update``
      without params, and for scores that are not as `saliency` says.

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
  selection = top_saliency(density, prunable, saliency, smoothing)

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
