"""Without second chances: the active set of the first steps stays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gsm_optax
from experiments.train.fixed import fix_active_set


def test_after_some_steps_the_same_weights_are_active_at_every_step():
  rng = np.random.default_rng(0)
  params = {
    "kernel": jnp.asarray(rng.normal(size=(20, 10)), jnp.float32),
    "bias": jnp.ones(10),
  }
  gradients = [
    jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), params)
    for _ in range(6)
  ]
  fixed, free = fix_active_set(0.1, after=3), gsm_optax.keep_top_saliency(0.1)
  states = fixed.init(params), free.init(params)
  updates = []
  for gradient in gradients:
    update, fixed_state = jax.jit(fixed.update)(gradient, states[0], params)
    expected, free_state = free.update(gradient, states[1], params)
    states = fixed_state, free_state
    updates.append((update, expected))
    np.testing.assert_array_equal(update["bias"], gradient["bias"])
  for update, expected in updates[:3]:
    np.testing.assert_array_equal(update["kernel"], expected["kernel"])
  mean = sum(abs(g["kernel"] * params["kernel"]) for g in gradients[:3])
  mask = gsm_optax.magnitude_mask({"kernel": mean}, 0.1)["kernel"]
  assert mask.sum() == 20
  for (update, expected), gradient in zip(updates[3:], gradients[3:], strict=True):
    np.testing.assert_array_equal(update["kernel"], mask * gradient["kernel"])
    assert (update["kernel"] != expected["kernel"]).any()


def test_it_takes_the_place_of_the_selection_in_a_chain():
  tx = optax.chain(fix_active_set(0.5, after=1), optax.trace(0.9), optax.scale(-0.1))
  params = {"kernel": jnp.array([[1.0, 2.0], [0.5, 3.0]])}
  state = tx.init(params)
  for _ in range(3):
    updates, state = tx.update({"kernel": jnp.ones((2, 2))}, state, params)
    params = optax.apply_updates(params, updates)
  assert params["kernel"][0, 0] == 1
  assert params["kernel"][0, 1] < 2
