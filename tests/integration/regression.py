"""A regression to train on, small enough for seconds, and what must hold afterwards."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gsm_optax

DENSITY = 0.25
LEARNING_RATE = 0.05
SETTINGS = {"density": DENSITY, "momentum": 0.9, "weight_decay": 1e-2}

_rng = np.random.default_rng(0)
INPUTS = _rng.normal(size=(64, 8)).astype(np.float32)
TARGETS = np.tanh(INPUTS[:, :2] @ _rng.normal(size=(2, 4))).astype(np.float32)


@functools.cache
def gsm(**settings):
  return gsm_optax.gsm(LEARNING_RATE, **(SETTINGS | settings))


def initial_params():
  """Of a network 8-16-4. As its leaves: bias, kernel, bias, kernel."""
  rng = np.random.default_rng(1)

  def layer(inputs, outputs):
    kernel = rng.normal(size=(inputs, outputs)) / inputs**0.5
    return {
      "bias": jnp.asarray(rng.normal(size=outputs) / 10, jnp.float32),
      "kernel": jnp.asarray(kernel, jnp.float32),
    }

  return {"1_hidden": layer(8, 16), "2_output": layer(16, 4)}


def network(params, inputs):
  """The outputs, whatever container the four leaves are in."""
  bias_1, kernel_1, bias_2, kernel_2 = jax.tree.leaves(params)
  return jnp.tanh(inputs @ kernel_1 + bias_1) @ kernel_2 + bias_2


def squared_error(outputs):
  return jnp.mean((outputs - TARGETS) ** 2)


def loss_fn(params):
  return squared_error(network(params, INPUTS))


# Cached, as `gsm` is: most of these tests' time goes into compiling.
@functools.cache
def step_of(tx, loss_fn=loss_fn):
  """``(params, state) -> (loss, gradients, updates, params, state)``, jitted."""

  @jax.jit
  def step(params, state):
    loss, gradients = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(gradients, state, params)
    return loss, gradients, updates, optax.apply_updates(params, updates), state

  return step


def train(tx, params, steps=40, state=None, loss_fn=loss_fn):
  """Losses before each step, and what params and state have become."""
  state = tx.init(params) if state is None else state
  losses = []
  for _ in range(steps):
    loss, _, _, params, state = step_of(tx, loss_fn)(params, state)
    losses.append(float(loss))
  return losses, params, state


def kernels(tree):
  return [leaf for leaf in jax.tree.leaves(tree) if leaf.ndim >= 2]


def others(tree):
  return [leaf for leaf in jax.tree.leaves(tree) if leaf.ndim < 2]


def quota(tree):
  return int(DENSITY * sum(leaf.size for leaf in kernels(tree)))


def number_of_nonzero(leaves):
  return sum(int(jnp.count_nonzero(leaf)) for leaf in leaves)


def assert_falls(losses):
  assert losses[-1] < 0.5 * losses[0]


def assert_pruned(pruned, params):
  """Q weights remain, as they were; so does everything that is no kernel."""
  assert jax.tree.structure(pruned) == jax.tree.structure(params)
  assert number_of_nonzero(kernels(pruned)) == quota(params)
  for after, before in zip(kernels(pruned), kernels(params), strict=True):
    np.testing.assert_array_equal(after, jnp.where(after == 0, 0, before))
  for after, before in zip(others(pruned), others(params), strict=True):
    np.testing.assert_array_equal(after, before)


def assert_only_kernels_are_chosen_from(gradients, params, updates=None):
  """In the first update of `gsm` Q gradients of kernels pass, and all others in full.

  Args:
    gradients: a tree.
    params: a tree.
    updates: that first update, if it is there already.
  """
  if updates is None:
    updates, _ = jax.jit(gsm().update)(gradients, gsm().init(params), params)
  active = 0
  for update, weight in zip(kernels(updates), kernels(params), strict=True):
    decay = -LEARNING_RATE * SETTINGS["weight_decay"] * weight
    active += int((~np.isclose(update, decay, rtol=1e-5, atol=0)).sum())
  assert active == quota(params)
  for update, gradient in zip(others(updates), others(gradients), strict=True):
    np.testing.assert_allclose(update, -LEARNING_RATE * gradient, rtol=1e-6)
