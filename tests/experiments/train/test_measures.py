"""What is measured on the way says whether the passive weights vanish."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gsm_optax
from experiments.measures import (
  History,
  empty_history,
  log10_histogram,
  make_measure,
  shrinkage,
  vanishing_warning,
)
from experiments.models import LeNet300, from_nnx
from experiments.training import TrainState


@pytest.mark.parametrize("nesterov", [False, True])
def test_shrinkage_is_what_happens_to_a_weight_without_gradient(nesterov):
  schedule = optax.piecewise_constant_schedule(0.03, {700: 0.1})
  tx = gsm_optax.gsm(schedule, 1.0, 0.99, 5e-4, nesterov=nesterov)
  params = jnp.ones((1, 1))

  @jax.jit
  def step(carry, _):
    params, state = carry
    updates, state = tx.update(jnp.zeros((1, 1)), state, params)
    return (optax.apply_updates(params, updates), state), None

  (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=1000)
  rates = [float(schedule(step)) for step in range(1000)]
  left = shrinkage(rates, 0.99, 5e-4, nesterov)
  np.testing.assert_allclose(left, params[0, 0], rtol=1e-4)


def test_shrinkage_is_nearly_exponential():
  left = shrinkage([0.01] * 5000, 0.9, 5e-4)
  np.testing.assert_allclose(math.log(left), -0.01 * 5e-4 * 5000 / 0.1, rtol=1e-2)


def test_a_warning_in_words_if_weights_will_not_vanish():
  assert vanishing_warning(1e-4) is None
  warning = vanishing_warning(0.2)
  assert warning is not None
  assert warning.startswith("These weights will not vanish: ")
  assert "0.2" in warning
  assert "--gsm-epochs" in warning


def test_the_histogram_counts_every_prunable_weight_once():
  params = {"kernel": np.array([[0.0, 1e-30], [0.5, -20.0]]), "bias": np.ones(7)}
  histogram = log10_histogram(params)
  counts = np.array(histogram["counts"])
  assert counts.sum() == 4
  assert counts[0] == 2
  assert counts[-1] == 1


def test_the_measurements_of_an_evaluation():
  model = from_nnx(lambda rngs: LeNet300((4, 4, 1), 3, rngs))
  params, stats = model.init(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (20, 4, 4, 1))
  data = (images, jnp.arange(20) % 3)
  measure = make_measure(model, 0.1, data, data)
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
  pruned = gsm_optax.prune(params, 0.1)
  assert (
    measured["pruned_accuracy"]
    == measure(TrainState(pruned, stats, ()), history)[0]["accuracy"]
  )
