"""Trainings in half, mixed and double precision."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from regression import (
  DENSITY,
  INPUTS,
  TARGETS,
  assert_falls,
  assert_pruned,
  gsm,
  initial_params,
  kernels,
  loss_fn,
  network,
  number_of_nonzero,
  quota,
  train,
)

import gsm_optax


def cast(tree, dtype):
  return jax.tree.map(lambda leaf: leaf.astype(dtype), tree)


def loss_in(dtype):
  """The network in that type, whatever that of the params; the mean in float32."""

  def loss_fn(params):
    outputs = network(cast(params, dtype), INPUTS.astype(dtype))
    return jnp.mean((outputs.astype(jnp.float32) - TARGETS) ** 2)

  return loss_fn


def assert_all_are(dtype, tree):
  assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_params_in_half_precision_remain_so(dtype):
  params = cast(initial_params(), dtype)
  losses, trained, state = train(gsm(), params, loss_fn=loss_in(dtype))
  assert_falls(losses)
  assert_all_are(dtype, trained)
  assert_all_are(dtype, optax.tree.get(state, "trace"))
  assert optax.tree.get(state, "threshold").dtype == jnp.float32
  # Many magnitudes are equal in so few bits, and still exactly Q remain.
  assert_pruned(gsm_optax.prune(trained, DENSITY), trained)


def test_the_momentum_of_half_precision_params_may_be_float32():
  params = cast(initial_params(), jnp.bfloat16)
  tx = gsm(accumulator_dtype=jnp.float32)
  losses, trained, state = train(tx, params, loss_fn=loss_in(jnp.bfloat16))
  assert_falls(losses)
  assert_all_are(jnp.bfloat16, trained)
  assert_all_are(jnp.float32, optax.tree.get(state, "trace"))
  assert_pruned(gsm_optax.prune(trained, DENSITY), trained)


def test_float32_params_take_bfloat16_gradients():
  params, tx = initial_params(), gsm()

  @jax.jit
  def step(params, state):
    half = cast(params, jnp.bfloat16)
    loss, gradients = jax.value_and_grad(loss_in(jnp.bfloat16))(half)
    updates, state = tx.update(gradients, state, params)
    return loss, optax.apply_updates(params, updates), state, gradients

  state, losses = tx.init(params), []
  for _ in range(40):
    loss, params, state, gradients = step(params, state)
    losses.append(float(loss))
  assert_falls(losses)
  assert_all_are(jnp.bfloat16, gradients)
  assert_all_are(jnp.float32, params)
  assert_all_are(jnp.float32, optax.tree.get(state, "trace"))
  assert_pruned(gsm_optax.prune(params, DENSITY), params)

  # Saliencies are float32 products: those of the same gradients in float32.
  chosen = gsm_optax.keep_top_saliency(DENSITY)
  in_half, _ = chosen.update(gradients, chosen.init(params), params)
  in_full, _ = chosen.update(cast(gradients, jnp.float32), chosen.init(params), params)
  assert_all_are(jnp.bfloat16, in_half)
  chex.assert_trees_all_equal(cast(in_half, jnp.float32), in_full)
  assert number_of_nonzero(kernels(in_half)) >= quota(params)


def scaled_gradients(params, scale):
  """In float16, of the loss times `scale`."""

  def scaled_loss(half):
    # On the way back, the scaled derivatives are float16 from here on.
    outputs = network(half, INPUTS.astype(jnp.float16)).astype(jnp.float32)
    return scale * jnp.mean((outputs - TARGETS) ** 2)

  return jax.grad(scaled_loss)(cast(params, jnp.float16))


def test_a_loss_scale_changes_nothing_of_the_choice():
  params = initial_params()
  scale = 2.0**10
  gradients = scaled_gradients(params, scale)
  assert_all_are(jnp.float16, gradients)
  unscaled = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) / scale, gradients)
  chosen = gsm_optax.keep_top_saliency(DENSITY)
  first, state = chosen.update(gradients, chosen.init(params), params)
  second, unscaled_state = chosen.update(unscaled, chosen.init(params), params)
  assert number_of_nonzero(kernels(first)) >= quota(params)
  chex.assert_trees_all_equal(
    jax.tree.map(lambda leaf: leaf.astype(jnp.float32) / scale, first), second
  )
  assert state.threshold == scale * unscaled_state.threshold


def test_gradients_may_be_unscaled_before_or_behind_the_choice():
  scale = 2.0**10

  def run(tx):
    @jax.jit
    def step(params, state):
      gradients = cast(scaled_gradients(params, scale), jnp.float32)
      updates, state = tx.update(gradients, state, params)
      return loss_fn(params), optax.apply_updates(params, updates), state

    params, losses = initial_params(), []
    state = tx.init(params)
    for _ in range(40):
      loss, params, state = step(params, state)
      losses.append(float(loss))
    assert_falls(losses)
    assert_pruned(gsm_optax.prune(params, DENSITY), params)
    return params

  choice, sgd = gsm_optax.keep_top_saliency(DENSITY), optax.sgd(0.05, 0.9)
  unscale = optax.scale(1 / scale)
  before = run(optax.chain(unscale, choice, sgd))
  behind = run(optax.chain(choice, unscale, sgd))
  chex.assert_trees_all_equal(before, behind)  # powers of two round nothing


def test_a_dynamic_loss_scale_skips_what_overflows():
  tx = optax.apply_if_finite(gsm(), max_consecutive_errors=100)

  @jax.jit
  def step(params, state, scale):
    gradients = jax.tree.map(
      lambda leaf: leaf.astype(jnp.float32) / scale, scaled_gradients(params, scale)
    )
    updates, state = tx.update(gradients, state, params)
    scale = jnp.where(state.last_finite, scale, scale / 2)
    return optax.apply_updates(params, updates), state, scale

  params = initial_params()
  state, scale = tx.init(params), jnp.float32(2.0**24)  # far beyond float16
  losses = []
  for _ in range(60):
    losses.append(float(loss_fn(params)))
    params, state, scale = step(params, state, scale)
  skipped = int(state.total_notfinite)
  assert 0 < skipped < 20
  assert scale == 2.0 ** (24 - skipped)
  assert losses[:skipped] == [losses[0]] * skipped  # nothing has moved
  assert_falls(losses)
  assert optax.tree.get(state, "threshold") > 0
  assert_pruned(gsm_optax.prune(params, DENSITY), params)


@pytest.mark.usefixtures("x64")
def test_params_in_double_precision_remain_so():
  params = cast(initial_params(), jnp.float64)
  losses, trained, state = train(gsm(), params)
  assert_falls(losses)
  assert_all_are(jnp.float64, trained)
  assert_all_are(jnp.float64, optax.tree.get(state, "trace"))
  assert optax.tree.get(state, "threshold").dtype == jnp.float32
  assert optax.tree.get(state, "count", filtering=is_array).dtype == jnp.int32
  assert_pruned(gsm_optax.prune(trained, DENSITY), trained)


def is_array(_, value):
  return hasattr(value, "dtype")


@pytest.mark.usefixtures("x64")
def test_params_in_float32_train_alike_with_x64():
  losses, trained, _ = train(gsm(), initial_params())
  assert_falls(losses)
  assert_all_are(jnp.float32, trained)
  jax.config.update("jax_enable_x64", False)
  _, without, _ = train(gsm(), initial_params())
  for leaf, expected in zip(
    jax.tree.leaves(trained), jax.tree.leaves(without), strict=True
  ):
    np.testing.assert_array_equal(leaf, expected)
