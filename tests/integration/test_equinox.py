"""Trainings of Equinox modules, whose leaves are not all arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from regression import (
  DENSITY,
  INPUTS,
  assert_falls,
  assert_only_kernels_are_chosen_from,
  assert_pruned,
  gsm,
  squared_error,
  step_of,
  train,
)

import gsm_optax


def equinox_network(eqx):
  """Layers with None where there is no bias, and fields that are no arrays."""

  class Dense(eqx.Module):
    weight: jax.Array
    bias: jax.Array | None
    activation: str = eqx.field(static=True)

    def __call__(self, inputs):
      outputs = inputs @ self.weight
      if self.bias is not None:
        outputs = outputs + self.bias
      return getattr(jnp, self.activation)(outputs)

  class Network(eqx.Module):
    layers: list[Dense]

    def __call__(self, inputs):
      for layer in self.layers:
        inputs = layer(inputs)
      return inputs

  keys = jax.random.split(jax.random.key(0))
  return Network(
    [
      Dense(jax.random.normal(keys[0], (8, 16)) / 3, jnp.zeros(16), "tanh"),
      Dense(jax.random.normal(keys[1], (16, 4)) / 4, None, "positive"),
    ]
  )


def test_an_equinox_module_of_arrays_alone_is_its_params():
  eqx = pytest.importorskip("equinox")
  model = equinox_network(eqx)
  loss_fn = lambda model: squared_error(model(INPUTS))  # noqa: E731
  _, gradients, updates, _, _ = step_of(gsm(), loss_fn)(model, gsm().init(model))
  assert_only_kernels_are_chosen_from(gradients, model, updates)
  losses, trained, _ = train(gsm(), model, loss_fn=loss_fn)
  assert_falls(losses)
  pruned = gsm_optax.prune(trained, DENSITY)
  assert_pruned(pruned, trained)
  assert pruned.layers[1].bias is None
  assert pruned.layers[0].activation == "tanh"


def test_the_trained_part_of_an_equinox_module_trains_and_is_pruned():
  eqx = pytest.importorskip("equinox")
  # Its activation function is a leaf, as are whatever else of it is no array.
  model = eqx.nn.MLP(
    8, 4, 16, 1, activation=jnp.tanh, use_final_bias=False, key=jax.random.key(0)
  )
  tx = gsm()

  def loss_fn(model):
    return squared_error(jax.vmap(model)(INPUTS))

  @eqx.filter_jit
  def step(model, state):
    loss, gradients = eqx.filter_value_and_grad(loss_fn)(model)
    params = eqx.filter(model, eqx.is_inexact_array)
    updates, state = tx.update(gradients, state, params)
    return loss, eqx.apply_updates(model, updates), state

  params = eqx.filter(model, eqx.is_inexact_array)
  assert_only_kernels_are_chosen_from(eqx.filter_grad(loss_fn)(model), params)
  state, losses = tx.init(params), []
  for _ in range(40):
    loss, model, state = step(model, state)
    losses.append(float(loss))
  assert_falls(losses)

  params, rest = eqx.partition(model, eqx.is_inexact_array)
  pruned = gsm_optax.prune(params, DENSITY)
  assert_pruned(pruned, params)
  # The module as it is may be pruned as well.
  whole = gsm_optax.prune(model, DENSITY)
  assert eqx.tree_equal(whole, eqx.combine(pruned, rest))
  assert np.isfinite(loss_fn(whole))


def test_an_equinox_module_need_not_be_filtered_to_be_updated():
  eqx = pytest.importorskip("equinox")
  # With leaves that are functions, and one that is None.
  model = eqx.nn.MLP(3, 1, 4, depth=1, use_final_bias=False, key=jax.random.key(0))
  gradients = eqx.filter_grad(lambda model: model(jnp.ones(3)).sum())(model)
  arrays = eqx.filter(model, eqx.is_array)
  is_kernel = jax.tree.map(lambda leaf: eqx.is_array(leaf) and leaf.ndim == 2, model)
  assert callable(is_kernel)  # and still a mask
  for tx in (
    gsm_optax.gsm(0.1, 0.5),
    gsm_optax.gsm(
      0.1, 0.5, prunable=is_kernel, passive_weight_decay=0.1, smoothing=0.5
    ),
  ):
    state = tx.init(arrays)
    filtered, _ = tx.update(gradients, state, arrays)
    updates, _ = tx.update(gradients, state, model)
    assert eqx.tree_equal(updates, filtered)
    updated = eqx.apply_updates(model, updates)
    assert updated.activation is model.activation
  pruned = gsm_optax.prune(model, 0.5, prunable=is_kernel)
  assert pruned.activation is model.activation
  assert gsm_optax.sparsity_report(pruned, prunable=is_kernel).kept == 8


def test_statistics_of_an_equinox_module_are_no_params():
  eqx = pytest.importorskip("equinox")

  class Network(eqx.Module):
    hidden: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    output: eqx.nn.Linear

    def __init__(self, key):
      keys = jax.random.split(key)
      self.hidden = eqx.nn.Linear(8, 16, key=keys[0])
      self.norm = eqx.nn.BatchNorm(16, axis_name="batch", mode="ema")
      self.output = eqx.nn.Linear(16, 4, key=keys[1])

    def __call__(self, inputs, stats):
      hidden, stats = self.norm(self.hidden(inputs), stats)
      return self.output(jnp.tanh(hidden)), stats

  model, stats = eqx.nn.make_with_state(Network)(jax.random.key(0))
  tx = gsm()

  def loss_fn(model, stats):
    forward = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    outputs, stats = forward(INPUTS, stats)
    return squared_error(outputs), stats

  @eqx.filter_jit
  def step(model, stats, state):
    value_and_grad = eqx.filter_value_and_grad(loss_fn, has_aux=True)
    (loss, stats), gradients = value_and_grad(model, stats)
    params = eqx.filter(model, eqx.is_inexact_array)
    updates, state = tx.update(gradients, state, params)
    return loss, eqx.apply_updates(model, updates), stats, state

  state, losses = tx.init(eqx.filter(model, eqx.is_inexact_array)), []
  for _ in range(40):
    loss, model, stats, state = step(model, stats, state)
    losses.append(float(loss))
  assert_falls(losses)
  params = eqx.filter(model, eqx.is_inexact_array)
  assert_pruned(gsm_optax.prune(params, DENSITY), params)
  # Pruned together with them, the statistics remain.
  both = gsm_optax.prune((params, stats), DENSITY)
  assert_pruned(both, (params, stats))
