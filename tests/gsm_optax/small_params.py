"""Params of two layers, and what is done with them in tests of `gsm`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsm_optax import keep_top_saliency


def random_tree(seed, dtype=np.float32):
  rng = np.random.default_rng(seed)
  shapes = {"kernel_1": (5, 4), "bias_1": (4,), "kernel_2": (4, 3), "bias_2": (3,)}
  return {name: jnp.asarray(rng.normal(size=s), dtype) for name, s in shapes.items()}


PARAMS = random_tree(0)
NUM_PRUNABLE = 32


def trajectory(tx, params, all_gradients):
  """The params after each step."""

  @jax.jit
  def step(params, state, gradients):
    updates, state = tx.update(gradients, state, params)
    return optax.apply_updates(params, updates), state

  state, history = tx.init(params), []
  for gradients in all_gradients:
    params, state = step(params, state, gradients)
    history.append(params)
  return history


def passed(gradients, params, density):
  """The gradients that `keep_top_saliency` lets through, of one matrix."""
  params, gradients = jnp.array(params), jnp.array(gradients)
  tx = keep_top_saliency(density, prunable=True)
  return tx.update(gradients, tx.init(params), params)[0]
