"""What tells, during training, whether the passive weights vanish."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

import gsm_optax
from experiments.datasets.dataset import Dataset
from experiments.models import Model
from experiments.train.evaluate import Accuracy, Weights
from experiments.train.kernels import kernels
from experiments.train.step import Batch, TrainState, cross_entropy
from experiments.train.structures import Built

LOWEST, HIGHEST, BINS = -20.0, 1.0, 84
"""Of the histogram of log10 |w|; smaller weights and zeros fall into the first bin."""


def sizes(params: Any, structure: Built | None = None) -> npt.NDArray[np.float32]:
  """The magnitudes of the prunable weights, or the norms of the structure's units."""
  if structure is not None:
    return structure.unit_norms(params)
  return np.concatenate([np.abs(np.asarray(leaf)).ravel() for leaf in kernels(params)])


def log10_histogram(magnitudes: npt.NDArray[Any]) -> dict[str, Any]:
  """How the sizes of what is pruned are spread."""
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


Measure = Callable[[TrainState, History], tuple[dict[str, Any], History]]
"""``(state, history) -> (measurements, history)``, at an evaluation."""


def make_measure(
  model: Model,
  data: Dataset,
  density: float,
  probe: Batch,
  evaluate: Callable[[list[Weights]], list[Accuracy]],
  structure: Built | None = None,
) -> Measure:
  """What is measured at an evaluation.

  Args:
    model: the model.
    data: what it is trained on.
    density: the share of weights to keep.
    probe: a fixed batch of training data. The active set is the one of its saliency, so
      that what changes between evaluations is not the noise of other batches.
    evaluate: gives accuracies on the test images.
    structure: what is kept together. Its units' norms are then measured in place of the
      weights' magnitudes, and Q is a number of units.
  """
  units = structure.structure if structure else None
  prune = jax.jit(lambda params: gsm_optax.prune(params, density, structure=units))

  @jax.jit
  def active_set(params: Any, batch_stats: Any, probe: Batch) -> Any:
    images, labels = probe
    batch = data.prepare(images), labels
    gradients = jax.grad(
      lambda params: cross_entropy(model, params, batch_stats, batch)[0]
    )(params)
    scores = jax.tree.map(gsm_optax.first_order_taylor, gradients, params)
    return gsm_optax.magnitude_mask(scores, density, structure=units)

  @jax.jit
  def changes(now: Any, history: History) -> tuple[list[jax.Array], History]:
    new = jax.tree.map(lambda a, b: a & ~b, now, history.active)
    back = jax.tree.map(lambda a, b: a & b, new, history.ever)
    ever = jax.tree.map(jnp.logical_or, now, history.ever)
    counts = [sum(jnp.sum(leaf) for leaf in kernels(mask)) for mask in (now, new, back)]
    return [jnp.asarray(count) for count in counts], History(now, ever)

  def measure(state: TrainState, history: History) -> tuple[dict[str, Any], History]:
    params, batch_stats, _ = state
    magnitudes = sizes(params, structure)
    size = magnitudes.size
    now = active_set(params, batch_stats, probe)
    (active, new, back), history = changes(now, history)
    q = int(active) if structure is None else max(1, math.floor(density * size))
    whole, pruned = evaluate([(params, batch_stats), (prune(params), batch_stats)])

    def magnitude_at(rank: int) -> float:
      return float(gsm_optax.global_threshold(magnitudes, min(rank, size)))

    return {
      "accuracy": whole.top1,
      "pruned_accuracy": pruned.top1,
      "test_loss": whole.loss,
      "pruned_test_loss": pruned.loss,
      "magnitude_at_q": magnitude_at(q),
      "magnitude_at_1.25q": magnitude_at(math.floor(1.25 * q)),
      "median_magnitude": magnitude_at(math.ceil(size / 2)),
      "active_set_changed": int(new) / int(active),
      "reactivated": int(back) / int(active),
      "log10_magnitude": log10_histogram(magnitudes),
    }, history

  return measure
