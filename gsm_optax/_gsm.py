"""Global Sparse Momentum SGD as a gradient transformation."""

from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax import lax

from gsm_optax._decay import add_passive_decay, difference
from gsm_optax._passes import Scores
from gsm_optax._patterns import bit_pattern
from gsm_optax._quota import check_density, quota
from gsm_optax._saliency import Saliency, check_smoothing, first_order_taylor
from gsm_optax._selection import search
from gsm_optax._trees import Prunable, is_hole, match, prunable_leaves, prunable_tree

MASKED = optax.MaskedNode()


class KeepTopSaliencyState(NamedTuple):
  """State of `keep_top_saliency`: two scalars, and with smoothing an average.

  Attributes:
    count: int32, the number of updates so far.
    threshold: float32, the saliency that a weight had to reach in the last update.
    average: with `smoothing`, a tree like the params: the average saliency of each
      prunable weight, float32, and `optax.MaskedNode` for the other leaves. Else None.
  """

  count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
  threshold: jax.Array
  average: Any = None


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
  check_density(density)
  check_smoothing(smoothing)

  def scores_of(gradient: jax.Array, weight: jax.Array) -> jax.Array:
    if saliency is None:
      return first_order_taylor(gradient, weight)
    scores: Any = saliency(gradient, weight)
    kind, shape = getattr(scores, "dtype", object), getattr(scores, "shape", None)
    if shape != weight.shape or not jnp.issubdtype(kind, jnp.floating):
      raise ValueError(
        "`saliency` must give a floating-point score for each weight of shape"
        f" {weight.shape}, but it gave {type(scores).__name__} of {kind} and shape"
        f" {shape}."
      )
    scores = scores.astype(jnp.float32)
    return jnp.where(scores <= 0, 0.0, scores)  # -0.0 too

  def saliency_pattern(gradient: jax.Array, weight: jax.Array) -> jax.Array:
    return bit_pattern(scores_of(gradient, weight))

  def averaged(gradient: jax.Array, weight: jax.Array, average: Any) -> Any:
    scores, decay = scores_of(gradient, weight), cast(Any, smoothing)
    moved = decay * average + (1 - decay) * scores
    return jnp.where(jnp.isfinite(scores), moved, average).astype(jnp.float32)

  def init_fn(params: optax.Params) -> KeepTopSaliencyState:
    leaves = jax.tree.leaves(params)
    # `optax.tree.map_params` calls with a placeholder of which nothing can be known: a
    # node without leaves, or with leaves that are no arrays.
    if any(hasattr(leaf, "shape") for leaf in leaves):
      n = sum(leaf.size for leaf in prunable_leaves(prunable, params))
      if not callable(density):
        quota(density, n)
    return KeepTopSaliencyState(
      jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32), init_average(params)
    )

  def init_average(params: optax.Params) -> Any:
    if smoothing is None:
      return None
    if not any(hasattr(leaf, "shape") for leaf in jax.tree.leaves(params)):
      return params  # a placeholder, as above
    return jax.tree.map(
      lambda leaf, prune: jnp.zeros_like(leaf, jnp.float32) if prune else MASKED,
      params,
      prunable_tree(prunable, params),
    )

  def update_fn(
    updates: optax.Updates,
    state: Any,
    params: optax.Params | None = None,
    **extra_args: Any,
  ) -> tuple[optax.Updates, KeepTopSaliencyState]:
    del extra_args
    if params is None:
      raise ValueError(
        "The saliency of a weight is |gradient * weight|: pass the params too, as in"
        " `update(gradients, state, params)`."
      )
    gradients, structure = jax.tree.flatten(updates, is_leaf=is_hole)
    weights = structure.flatten_up_to(params)
    chosen = structure.flatten_up_to(prunable_tree(prunable, params))
    places = [
      i
      for i, (gradient, prune) in enumerate(zip(gradients, chosen, strict=True))
      if not is_hole(gradient) and prune
    ]
    prunable_leaves(True, [weights[i] for i in places])  # raises if they are not
    operands, pattern = [(gradients[i], weights[i]) for i in places], saliency_pattern
    averages: list[Any] = []
    if smoothing is not None:
      averages = match(state.average, updates)
      for i in places:
        averages[i] = averaged(gradients[i], weights[i], averages[i])
      operands, pattern = [(averages[i],) for i in places], bit_pattern
    elif saliency is not None:
      # Of whole leaves: it may look at more than one weight at a time.
      operands = [(scores_of(gradients[i], weights[i]),) for i in places]
      pattern = bit_pattern
    scores = Scores(operands, pattern)
    q = quota(density(state.count) if callable(density) else density, scores.size)
    threshold, _ = search(*scores, q, state.threshold)
    for i, leaf in zip(places, operands, strict=True):
      # Patterns of NaN lie above that of infinity, so they pass.
      passes = pattern(*leaf) >= threshold
      if smoothing is not None:
        passes |= ~jnp.isfinite(scores_of(gradients[i], weights[i]))
      gradients[i] = jnp.where(passes, gradients[i], jnp.zeros_like(gradients[i]))
    return jax.tree.unflatten(structure, gradients), KeepTopSaliencyState(
      cast(jax.Array, optax.safe_increment(state.count)),
      lax.bitcast_convert_type(threshold, jnp.float32),
      None if smoothing is None else jax.tree.unflatten(structure, averages),
    )

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def gsm(
  learning_rate: optax.ScalarOrSchedule,
  density: optax.ScalarOrSchedule = 0.1,
  momentum: float | jax.Array = 0.98,
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
  saliency `T(w)` on the current batch (see `keep_top_saliency`); all prunable weights
  decay; both go through the momentum:

  .. math::
    Z &\leftarrow \beta Z + \eta W + B \circ \frac{\partial L}{\partial W} \\
    W &\leftarrow W - \alpha Z

  with learning rate :math:`\alpha`, momentum :math:`\beta` and weight decay
  :math:`\eta`. Leaves that are not prunable (biases, normalisation) are trained with
  their full gradient and without decay.

  A passive weight shrinks by about :math:`\alpha \eta / (1 - \beta)` of itself per
  step, so a high momentum, and enough steps at a high learning rate, are what make it
  vanish. After training, `gsm_optax.prune` with the same density sets the vanished
  weights to exactly zero.

  Two things to know beforehand. Keep the params in float32 (or float16): in bfloat16 a
  step's shrinkage is less than half a unit in the last place, and nothing vanishes. And
  a kernel that is initialised to zero has no saliency, so that it may never be chosen:
  start it small instead, or leave it out with `prunable`.

  Args:
    learning_rate: a scalar or a schedule of the step count.
    density: the share of the prunable weights to keep, Q / n: a number in (0, 1], a
      traced scalar, or a schedule of the step count. 1 / density is the compression.
    momentum: 0.98 to 0.99, for vanishing to be quick enough.
    weight_decay: a scalar or a schedule of the step count.
    nesterov: as `torch.optim.SGD` does it.
    prunable: which leaves are pruned, as `optax.masked` takes its ``mask``; ``None``:
      the leaves with two or more dimensions. Those include embeddings, the biases of
      Flax's attention, and biases stacked over layers: leave them out if need be.
    accumulator_dtype: type of the momentum; ``None``: that of the params.
    saliency: as for `keep_top_saliency`; ``None``: the paper's.
    smoothing: as for `keep_top_saliency`; ``None``: by this batch alone, as the paper.
    passive_weight_decay: the decay :math:`\eta` of the prunable weights whose gradient
      is zero in a step, in place of `weight_decay`: a scalar or a schedule. It lets
      passive weights vanish soon, by a moderate momentum, without shrinking the active
      ones. ``None``: that of the others, as the paper.

  Returns:
    A transformation with the state of an `optax.chain`: that of `keep_top_saliency`
    (two scalars, without smoothing), of the passive decay if there is one, of the
    momentum (one array per leaf), and of the schedules.

  Raises:
    ValueError: as `keep_top_saliency` does.

  Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> import gsm_optax
    >>> key = jax.random.key(0)
    >>> inputs = jax.random.normal(key, (64, 20))
    >>> params = {"kernel": jax.random.normal(key, (20, 1)), "bias": jnp.zeros(1)}
    >>> targets = inputs[:, :2] @ jnp.ones((2, 1))  # two inputs of twenty matter
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
  mask = partial(prunable_tree, prunable)
  passive: list[optax.GradientTransformation] = []
  if passive_weight_decay is not None:
    extra = difference(passive_weight_decay, weight_decay)
    passive = [optax.masked(add_passive_decay(extra), mask)]
  return optax.chain(
    keep_top_saliency(
      density, prunable=prunable, saliency=saliency, smoothing=smoothing
    ),
    *passive,
    optax.add_decayed_weights(weight_decay, mask=mask),
    optax.trace(momentum, nesterov, accumulator_dtype),
    optax.scale_by_learning_rate(learning_rate),
  )
