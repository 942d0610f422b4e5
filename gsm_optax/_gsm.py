"""Global Sparse Momentum SGD: mask, decay, momentum, learning rate."""

from typing import Any

import jax
import optax

from gsm_optax._checks import check_rate, check_share
from gsm_optax._mask_and_decay import mask_and_decay
from gsm_optax._prune_from import zero_the_rest
from gsm_optax._saliency import Saliency
from gsm_optax._selection import Selection, top_saliency
from gsm_optax._structures import Structure
from gsm_optax._trees import Prunable


def gsm(
  learning_rate: optax.ScalarOrSchedule,
  density: optax.ScalarOrSchedule = 0.1,
  momentum: optax.ScalarOrSchedule | None = 0.98,
  weight_decay: optax.ScalarOrSchedule = 1e-4,
  *,
  nesterov: bool = False,
  prunable: Prunable = None,
  accumulator_dtype: Any | None = None,
  saliency: Saliency | None = None,
  smoothing: float | jax.Array | None = None,
  passive_weight_decay: optax.ScalarOrSchedule | None = None,
  prune_from: int | jax.Array | None = None,
  structure: Structure | None = None,
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
  their full gradient and no decay; with the structure `channels` they are prunable.

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
    momentum: in [0, 1), or a schedule of the step count; 0.98 to 0.99 makes weights
      vanish quickly enough. ``None`` is SGD without momentum, and without its state.
    weight_decay: a scalar or a schedule of the step count.
    nesterov: whether to use Nesterov momentum, as `torch.optim.SGD` defines it.
    prunable: which leaves are pruned, in the form of `optax.masked`'s ``mask``.
      ``None`` selects `kernels`; `paths` makes one of patterns.
    accumulator_dtype: the momentum's type; ``None`` is the params' own.
    saliency: as in `keep_top_saliency`; ``None`` is the paper's.
    smoothing: as in `keep_top_saliency`; ``None``, as in the paper, does not average.
    passive_weight_decay: a scalar or a schedule that replaces `weight_decay` as the
      decay :math:`\eta` of prunable weights that are passive in a step. It makes them
      vanish soon at a moderate momentum, without shrinking the active ones. ``None``,
      as in the paper, decays both alike.
    prune_from: the step, counted from 0, at which the network is pruned: the update
      leaves the Q weights of greatest magnitude and makes all others exactly zero. From
      then on the zeros stay, and all that is left learns, from its full gradient and
      with `weight_decay`. The run ends pruned; 70 to 80 % of its steps is a good time.
      Should the density fall later, so will the number of weights. ``None``, as in the
      paper, leaves pruning to `prune` after the training.
    structure: as in `keep_top_saliency`: what is kept together, such as `channels`.
      ``None``, as in the paper, prunes single weights.

  Returns:
    A transformation with the state of an `optax.chain`: a `KeepTopSaliencyState` (three
    scalars, without smoothing), the momentum (one array per leaf), the step count of a
    learning-rate schedule, and with `prune_from` a `PruneFromState`, a step count.

  Raises:
    ValueError: as in `keep_top_saliency`, or if the learning rate or a decay is known
      to be negative, the momentum to be outside [0, 1), or `prune_from` not to be the
      number of a step.

  Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> import gsm_optax
    >>> key = jax.random.key(0)
    >>> inputs = jax.random.normal(key, (64, 20))
    >>> params = {"kernel": jax.random.normal(key, (20, 2)), "bias": jnp.zeros(2)}
    >>> targets = inputs[:, :2]  # two of the forty weights matter
    >>> def loss_fn(params):
    ...   outputs = inputs @ params["kernel"] + params["bias"]
    ...   return jnp.mean((outputs - targets) ** 2)
    >>> tx = gsm_optax.gsm(0.01, density=0.05, momentum=0.9, weight_decay=1e-2)
    >>> def step(_, carry):
    ...   params, state = carry
    ...   gradients = jax.grad(loss_fn)(params)
    ...   updates, state = tx.update(gradients, state, params)
    ...   return optax.apply_updates(params, updates), state
    >>> carry = (params, tx.init(params))
    >>> params, state = jax.lax.fori_loop(0, 2000, step, carry)
    >>> pruned = gsm_optax.prune(params, density=0.05)
    >>> print(jnp.argwhere(pruned["kernel"]))
    [[0 0]
     [1 1]]

  References:
    Ding et al., `Global Sparse Momentum SGD for Pruning Very Deep Neural Networks
    <https://arxiv.org/abs/1909.12778>`_, 2019, equations 5 to 8.
  """
  check_rate("learning_rate", learning_rate)
  selection = top_saliency(
    density, prunable, saliency, smoothing, prune_from, structure
  )
  links = _links(
    selection,
    momentum,
    weight_decay,
    nesterov,
    accumulator_dtype,
    passive_weight_decay,
  )
  links.append(optax.scale_by_learning_rate(learning_rate))
  if prune_from is not None:
    links.append(zero_the_rest(prune_from, density, prunable, structure))
  return optax.chain(*links)


def scale_by_gsm(
  density: optax.ScalarOrSchedule = 0.1,
  momentum: optax.ScalarOrSchedule | None = 0.98,
  weight_decay: optax.ScalarOrSchedule = 1e-4,
  *,
  nesterov: bool = False,
  prunable: Prunable = None,
  accumulator_dtype: Any | None = None,
  saliency: Saliency | None = None,
  smoothing: float | jax.Array | None = None,
  passive_weight_decay: optax.ScalarOrSchedule | None = None,
  structure: Structure | None = None,
) -> optax.GradientTransformationExtraArgs:
  r"""`gsm` without the learning rate and its sign, for chains that end with their own.

  .. math:: u = \beta Z + \eta W + B \circ \frac{\partial L}{\partial W}

  Frameworks that append ``optax.scale_by_learning_rate`` themselves take this one; with
  `gsm` they would ascend.

  Args:
    density: as in `gsm`.
    momentum: as in `gsm`.
    weight_decay: as in `gsm`.
    nesterov: as in `gsm`.
    prunable: as in `gsm`.
    accumulator_dtype: as in `gsm`.
    saliency: as in `gsm`.
    smoothing: as in `gsm`.
    passive_weight_decay: as in `gsm`.
    structure: as in `gsm`.

  Returns:
    A transformation with the state of `gsm`, less the learning rate's.

  Raises:
    ValueError: as in `gsm`.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import gsm_optax
    >>> tx = optax.chain(gsm_optax.scale_by_gsm(0.5), optax.scale_by_learning_rate(0.1))
    >>> params = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    >>> updates, _ = tx.update(jnp.ones((2, 2)), tx.init(params), params)
    >>> print((10 * updates).round())
    [[-0. -0.]
     [-1. -1.]]
  """
  selection = top_saliency(density, prunable, saliency, smoothing, structure=structure)
  links = _links(
    selection,
    momentum,
    weight_decay,
    nesterov,
    accumulator_dtype,
    passive_weight_decay,
  )
  return optax.chain(*links)


def _links(
  selection: Selection,
  momentum: optax.ScalarOrSchedule | None,
  weight_decay: optax.ScalarOrSchedule,
  nesterov: bool,
  accumulator_dtype: Any | None,
  passive_weight_decay: optax.ScalarOrSchedule | None,
) -> list[optax.GradientTransformation]:
  """What comes before the learning rate."""
  check_rate("weight_decay", weight_decay)
  check_rate("passive_weight_decay", passive_weight_decay, optional=True)
  check_share("momentum", momentum)
  links: list[optax.GradientTransformation] = [
    mask_and_decay(selection, weight_decay, passive_weight_decay)
  ]
  if callable(momentum):
    scheduled = optax.inject_hyperparams(
      optax.trace, static_args=("nesterov", "accumulator_dtype")
    )
    links.append(scheduled(momentum, nesterov, accumulator_dtype))
  elif momentum is not None:
    links.append(optax.trace(momentum, nesterov, accumulator_dtype))
  return links
