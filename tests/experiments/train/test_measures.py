"""What is measured on the way says whether the passive weights vanish."""

import jax
import numpy as np

import gsm_optax
from experiments import models
from experiments.datasets.resident import Resident
from experiments.train.evaluate import make_evaluate
from experiments.train.measures import (
  History,
  empty_history,
  log10_histogram,
  make_measure,
  sizes,
)
from experiments.train.step import TrainState


def test_the_histogram_counts_every_prunable_weight_once():
  params = {"kernel": np.array([[0.0, 1e-30], [0.5, -20.0]]), "bias": np.ones(7)}
  histogram = log10_histogram(sizes(params))
  counts = np.array(histogram["counts"])
  assert counts.sum() == 4
  assert counts[0] == 2
  assert counts[-1] == 1


def test_the_measurements_of_an_evaluation():
  model = models.load("lenet300", (4, 4, 1), 3)
  params, stats = model.init(jax.random.key(0))
  images = np.asarray(jax.random.normal(jax.random.key(1), (20, 4, 4, 1)))
  batch = images, np.arange(20, dtype=np.int32) % 3
  data = Resident(*batch, *batch, 3)
  measure = make_measure(model, data, 0.1, batch, make_evaluate(model, data))
  measured, history = measure(TrainState(params, stats, ()), empty_history(params))
  weights = np.concatenate(
    [np.ravel(abs(leaf)) for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
  )
  descending = np.sort(weights)[::-1]
  q = weights.size // 10
  assert measured["magnitude_at_q"] == descending[q - 1]
  assert measured["magnitude_at_1.25q"] == descending[int(1.25 * q) - 1]
  assert measured["median_magnitude"] == descending[-(-weights.size // 2) - 1]
  assert (measured["active_set_changed"], measured["reactivated"]) == (1, 0)
  again, _ = measure(TrainState(params, stats, ()), history)
  assert (again["active_set_changed"], again["reactivated"]) == (0, 0)
  # All that has left and come back is reactivated.
  nothing = empty_history(params).active
  back, _ = measure(TrainState(params, stats, ()), History(nothing, history.ever))
  assert (back["active_set_changed"], back["reactivated"]) == (1, 1)
  pruned = gsm_optax.apply_mask(params, gsm_optax.magnitude_mask(params, 0.1))
  assert (
    measured["pruned_accuracy"]
    == measure(TrainState(pruned, stats, ()), history)[0]["accuracy"]
  )
