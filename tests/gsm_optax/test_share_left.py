"""What is foretold of a passive weight is what becomes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gsm_optax

STEPS = 300


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(
  ("rate", "momentum", "decay"),
  [
    (0.03, 0.9, 1e-2),
    (optax.cosine_decay_schedule(0.1, STEPS), 0.95, 5e-3),
    (0.03, optax.linear_schedule(0.5, 0.95, STEPS), optax.linear_schedule(0, 0.1, 100)),
    (0.03, None, 0.1),
  ],
)
def test_it_is_what_gsm_leaves(rate, momentum, decay, nesterov):
  tx = gsm_optax.gsm(*(rate, 1 / 4, momentum, decay), nesterov=nesterov, prunable=True)
  # The first weight is active throughout: the others have no gradient.
  gradients = jnp.array([1.0, 0.0, 0.0, 0.0])

  def step(carry, _):
    params, state = carry
    updates, state = tx.update(gradients, state, params)
    params = optax.apply_updates(params, updates)
    return (params, state), params[1]

  params = jnp.array([1e3, 1.0, 2.0, 3.0])
  _, sizes = jax.lax.scan(step, (params, tx.init(params)), None, STEPS)
  numbers = range(1, STEPS + 1)
  left = gsm_optax.share_left(rate, numbers, momentum, decay, nesterov=nesterov)
  np.testing.assert_allclose(left, abs(sizes), rtol=1e-5, atol=1e-12)
  whole = gsm_optax.share_left(rate, STEPS, momentum, decay, nesterov=nesterov)
  assert whole == left[-1]


def test_it_is_what_sparsify_leaves():
  decay = optax.linear_schedule(0.05, 0.0, 50)
  tx = gsm_optax.sparsify(optax.adam(0.1), 0.25, passive_weight_decay=decay)
  params = jnp.array([[1e3, 1.0], [2.0, 3.0]])
  state = tx.init(params)
  for _ in range(60):
    gradients = jnp.array([[1.0, 0.0], [0.0, 0.0]])
    updates, state = tx.update(gradients, state, params)
    params = optax.apply_updates(params, updates)
  left = gsm_optax.share_left(1.0, 60, None, decay)
  assert 0.2 < left < 0.4
  np.testing.assert_allclose(params[0, 1], left, rtol=1e-5)


def test_no_step_leaves_all_of_it():
  assert gsm_optax.share_left(0.1, 0) == 1.0
  assert gsm_optax.share_left(0.1, []).shape == (0,)


@pytest.mark.parametrize("steps", [-1, 1.5, [3, -2], "many"])
def test_steps_are_whole_numbers(steps):
  with pytest.raises(ValueError, match="`steps` must be a number of steps"):
    gsm_optax.share_left(0.1, steps)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((-0.1, 5), "`learning_rate` must be finite and not negative"),
    ((0.1, 5, 1.0), "`momentum` must be in"),
    ((0.1, 5, 0.9, -1.0), "`weight_decay` must be finite and not negative"),
  ],
)
def test_rates_that_gsm_does_not_take(arguments, message):
  with pytest.raises(ValueError, match=message):
    gsm_optax.share_left(*arguments)
