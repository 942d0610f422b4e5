"""What tells whether the passive weights vanish, before and during training."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gsm_optax
from experiments.models import Model
from experiments.training import Batch, TrainState, cross_entropy, make_accuracy

LOWEST, HIGHEST, BINS = -20.0, 1.0, 84
"""Of the histogram of log10 |w|; smaller weights and zeros fall into the first bin."""

VANISHED = 1e-3
"""Shrinkage below which a passive weight may be called vanished."""


def passive_sizes(
  learning_rates: Iterable[float],
  momentum: float,
  weight_decay: float,
  nesterov: bool = False,
) -> list[float]:
  r"""The sizes after each step of a weight of 1 that is passive throughout.

  Iterates :math:`z \leftarrow \beta z + \eta w, \; w \leftarrow w - \alpha z`; while
  :math:`\alpha` is constant this is nearly
  :math:`\exp(-\alpha \eta t / (1 - \beta))`.
  """
  weight, velocity, sizes = 1.0, 0.0, list[float]()
  for learning_rate in map(float, learning_rates):
    velocity = momentum * velocity + weight_decay * weight
    step = weight_decay * weight + momentum * velocity if nesterov else velocity
    weight -= learning_rate * step
    sizes.append(abs(weight))
  return sizes


def shrinkage(
  learning_rates: Iterable[float],
  momentum: float,
  weight_decay: float,
  nesterov: bool = False,
) -> float:
  """What is left at the end of a weight of 1 that is passive throughout."""
  return [1.0, *passive_sizes(learning_rates, momentum, weight_decay, nesterov)][-1]


def vanishing_warning(left: float) -> str | None:
  """A warning in words, if a passive weight keeps the share `left` of its size."""
  if left <= VANISHED:
    return None
  return (
    f"These weights will not vanish: over the whole run, schedule, decay and momentum"
    f" leave {left:.2g} of a passive weight, and pruning it will hurt. Train longer"
    " (--gsm-epochs), or raise --learning-rate, --momentum or --weight-decay, until"
    f" less than {VANISHED:g} is left."
  )


def log10_histogram(params: Any) -> dict[str, Any]:
  """How the magnitudes of the prunable weights are spread."""
  magnitudes = np.concatenate(
    [
      np.abs(np.asarray(leaf)).ravel()
      for leaf in jax.tree.leaves(params)
      if leaf.ndim > 1
    ]
  )
  with np.errstate(divide="ignore"):
    exponents = np.clip(np.log10(magnitudes), LOWEST, HIGHEST)
  counts, _ = np.histogram(exponents, bins=BINS, range=(LOWEST, HIGHEST))
  return {"lowest": LOWEST, "highest": HIGHEST, "counts": counts.tolist()}


class History(NamedTuple):
  """Boolean trees like the params: what was active at the evaluations so far.

  Attributes:
    active: the active set at the last one.
    ever: what was active at any of them, since the phase began.
  """

  active: Any
  ever: Any


def empty_history(params: Any) -> History:
  """Before the first evaluation."""
  return History(
    *(jax.tree.map(lambda leaf: jnp.zeros_like(leaf, bool), params) for _ in range(2))
  )


def make_measure(
  model: Model, density: float, probe: Batch, test: Batch
) -> Callable[[TrainState, History], tuple[dict[str, Any], History]]:
  """``(state, history) -> (measurements, history)`` at an evaluation.

  Args:
    model: the model.
    density: the share of weights to keep.
    probe: a fixed batch of training data. The active set is the one of its saliency, so
      that what changes between evaluations is not the noise of other batches.
    test: the test data.
  """
  accuracy = make_accuracy(model)
  prune = jax.jit(lambda params: gsm_optax.prune(params, density))

  @jax.jit
  def active_set(params: Any, batch_stats: Any, probe: Batch) -> Any:
    gradients = jax.grad(
      lambda params: cross_entropy(model, params, batch_stats, probe)[0]
    )(params)
    scores = jax.tree.map(lambda g, w: jnp.abs(g * w), gradients, params)
    return gsm_optax.magnitude_mask(scores, density)

  @jax.jit
  def changes(now: Any, history: History) -> tuple[list[jax.Array], History]:
    new = jax.tree.map(lambda a, b: a & ~b, now, history.active)
    back = jax.tree.map(lambda a, b: a & b, new, history.ever)
    ever = jax.tree.map(jnp.logical_or, now, history.ever)
    counts = [
      sum(jnp.sum(leaf) for leaf in jax.tree.leaves(mask) if leaf.ndim > 1)
      for mask in (now, new, back)
    ]
    return [jnp.asarray(count) for count in counts], History(now, ever)

  def measure(state: TrainState, history: History) -> tuple[dict[str, Any], History]:
    params, batch_stats, _ = state
    magnitudes = [abs(leaf) for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    size = sum(leaf.size for leaf in magnitudes)
    now = active_set(params, batch_stats, probe)
    (active, new, back), history = changes(now, history)
    q = int(active)

    def magnitude_at(rank: int) -> float:
      return float(gsm_optax.global_threshold(magnitudes, min(rank, size)))

    return {
      "accuracy": accuracy(params, batch_stats, test),
      "pruned_accuracy": accuracy(prune(params), batch_stats, test),
      "magnitude_at_q": magnitude_at(q),
      "magnitude_at_1.25q": magnitude_at(math.floor(1.25 * q)),
      "median_magnitude": magnitude_at(math.ceil(size / 2)),
      "active_set_changed": int(new) / q,
      "reactivated": int(back) / q,
      "log10_magnitude": log10_histogram(params),
    }, history

  return measure
