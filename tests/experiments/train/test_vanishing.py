"""What becomes of a passive weight is known by arithmetic, before any training."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gsm_optax
from experiments.train.vanishing import shrinkage, vanishing_warning


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
  assert "Train longer" in warning
