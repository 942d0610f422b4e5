"""A training in every kind of container that params come in."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from flax.training import train_state
from regression import (
  DENSITY,
  INPUTS,
  assert_falls,
  assert_only_kernels_are_chosen_from,
  assert_pruned,
  gsm,
  initial_params,
  kernels,
  number_of_nonzero,
  others,
  quota,
  squared_error,
  step_of,
  train,
)

import gsm_optax


class Layer(NamedTuple):
  bias: Any
  kernel: Any


@jax.tree_util.register_dataclass
@dataclass
class Network:
  hidden: Any
  output: Any


CONTAINERS = {
  "dict": lambda hidden, output: {"1": hidden, "2": output},
  "frozen dict": lambda hidden, output: flax.core.freeze({"1": hidden, "2": output}),
  "tuple": lambda hidden, output: (tuple(hidden.values()), tuple(output.values())),
  "list": lambda hidden, output: [*hidden.values(), None, list(output.values())],
  "named tuple": lambda hidden, output: [Layer(**hidden), Layer(**output)],
  "dataclass": lambda hidden, output: Network(Layer(**hidden), output),
}


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_the_container_changes_nothing_of_a_training(container):
  params = container(*initial_params().values())
  _, gradients, updates, _, _ = step_of(gsm())(params, gsm().init(params))
  assert_only_kernels_are_chosen_from(gradients, params, updates)
  losses, trained, _ = train(gsm(), params)
  assert_falls(losses)
  pruned = gsm_optax.prune(trained, DENSITY)
  assert_pruned(pruned, trained)

  in_dict = train(gsm(), initial_params())[1]
  for found, expected in [
    (trained, in_dict),
    (pruned, gsm_optax.prune(in_dict, DENSITY)),
  ]:
    for leaf, expected_leaf in zip(
      jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
      np.testing.assert_array_equal(leaf, expected_leaf)


# Flax Linen


class LinenNetwork(linen.Module):
  @linen.compact
  def __call__(self, inputs, train):
    hidden = linen.BatchNorm(use_running_average=not train)(linen.Dense(16)(inputs))
    return linen.Dense(4)(linen.tanh(hidden))


class TrainState(train_state.TrainState):
  batch_stats: Any


def test_a_linen_train_state_trains_and_is_pruned():
  model = LinenNetwork()
  variables = model.init(jax.random.key(0), INPUTS, train=False)
  state = TrainState.create(
    apply_fn=model.apply,
    params=variables["params"],
    batch_stats=variables["batch_stats"],
    tx=gsm(),
  )

  def loss_fn(params, batch_stats):
    outputs, changed = model.apply(
      {"params": params, "batch_stats": batch_stats},
      INPUTS,
      train=True,
      mutable=["batch_stats"],
    )
    return squared_error(outputs), changed["batch_stats"]

  value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

  @jax.jit
  def step(state):
    (loss, batch_stats), gradients = value_and_grad(state.params, state.batch_stats)
    return loss, state.apply_gradients(grads=gradients, batch_stats=batch_stats)

  _, gradients = value_and_grad(state.params, state.batch_stats)
  assert_only_kernels_are_chosen_from(gradients, state.params)
  losses = []
  for _ in range(40):
    loss, state = step(state)
    losses.append(float(loss))
  assert_falls(losses)

  pruned = gsm_optax.prune(state.params, DENSITY)
  assert_pruned(pruned, state.params)
  variables = {"params": pruned, "batch_stats": state.batch_stats}
  assert model.apply(variables, INPUTS, train=False).shape == (64, 4)
  for mistake in (state, variables, state.opt_state):
    with pytest.raises(ValueError, match=": pass "):
      gsm_optax.prune(mistake, DENSITY)


# Flax NNX


class NNXNetwork(nnx.Module):
  def __init__(self, rngs):
    self.layers = nnx.List(
      [
        nnx.Linear(8, 16, rngs=rngs),
        nnx.BatchNorm(16, rngs=rngs),
        jnp.tanh,
        nnx.Dropout(0.1, rngs=rngs),
        nnx.Linear(16, 4, rngs=rngs),
      ]
    )

  def __call__(self, inputs):
    for layer in self.layers:
      inputs = layer(inputs)
    return inputs


@nnx.jit
def nnx_step(model, optimizer):
  loss, gradients = nnx.value_and_grad(lambda model: squared_error(model(INPUTS)))(
    model
  )
  optimizer.update(model, gradients)
  return loss


def trained_nnx_model():
  model = NNXNetwork(nnx.Rngs(0))
  optimizer = nnx.Optimizer(model, gsm(), wrt=nnx.Param)
  losses = [float(nnx_step(model, optimizer)) for _ in range(40)]
  return model, optimizer, losses


def test_an_nnx_module_trains_and_is_pruned():
  model, optimizer, losses = trained_nnx_model()
  assert_falls(losses)
  assert optax.tree.get(optimizer.opt_state, "threshold")[...] > 0
  params, stats = nnx.state(model, nnx.Param), nnx.state(model, nnx.BatchStat)
  stats = jax.tree.map(jnp.copy, stats)
  pruned = gsm_optax.prune(params, DENSITY)
  assert_pruned(pruned, params)
  nnx.update(model, pruned)
  assert number_of_nonzero(kernels(nnx.state(model, nnx.Param))) == quota(params)
  for after, before in zip(
    jax.tree.leaves(nnx.state(model, nnx.BatchStat)),
    jax.tree.leaves(stats),
    strict=True,
  ):
    np.testing.assert_array_equal(after, before)
    assert (after != 0).all()
  model.eval()
  assert model(INPUTS).shape == (64, 4)


def test_biases_and_scales_of_an_nnx_module_see_their_full_gradient():
  model = NNXNetwork(nnx.Rngs(0))
  gradients = nnx.grad(lambda model: squared_error(model(INPUTS)))(model)
  params = nnx.state(model, nnx.Param)
  assert_only_kernels_are_chosen_from(
    nnx.to_pure_dict(gradients), nnx.to_pure_dict(params)
  )
  before = jax.tree.map(jnp.copy, params)
  nnx.Optimizer(model, gsm(), wrt=nnx.Param).update(model, gradients)
  changes = jax.tree.map(jnp.subtract, nnx.state(model, nnx.Param), before)
  for change, gradient in zip(others(changes), others(gradients), strict=True):
    np.testing.assert_allclose(change, -0.05 * gradient, rtol=1e-4, atol=1e-7)


def test_the_whole_state_of_an_nnx_module_can_be_pruned():
  # Statistics, and keys and counts of random numbers too: nothing of them is touched.
  model, _, _ = trained_nnx_model()
  state = nnx.state(model)
  pruned = gsm_optax.prune(state, DENSITY)
  assert number_of_nonzero(kernels(pruned)) == quota(state)
  keys = lambda state: [  # noqa: E731
    jax.random.key_data(key)
    for key in jax.tree.leaves(nnx.filter_state(state, nnx.RngKey))
  ]
  assert len(keys(pruned)) == 1
  np.testing.assert_array_equal(keys(pruned), keys(state))
  nnx.update(model, pruned)
  assert model(INPUTS).shape == (64, 4)


# Haiku


def haiku_network(hk):
  def network(inputs, is_training):
    hidden = hk.Linear(16)(inputs)
    hidden = hk.BatchNorm(True, True, decay_rate=0.9)(hidden, is_training)
    return hk.Linear(4)(jnp.tanh(hidden))

  return hk.without_apply_rng(hk.transform_with_state(network))


def test_haiku_params_train_and_are_pruned():
  hk = pytest.importorskip("haiku")
  model = haiku_network(hk)
  params, stats = model.init(jax.random.key(0), INPUTS, True)

  # The scale and the offset of Haiku's BatchNorm have two dimensions, (1, channels).
  def is_kernel(params):
    return hk.data_structures.map(lambda _, name, __: name == "w", params)

  assert params["batch_norm"]["scale"].shape == (1, 16)
  tx = gsm(prunable=is_kernel)

  def loss_fn(params, stats):
    outputs, stats = model.apply(params, stats, INPUTS, True)
    return squared_error(outputs), stats

  @jax.jit
  def step(params, stats, state):
    (loss, stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(params, stats)
    updates, state = tx.update(gradients, state, params)
    return loss, optax.apply_updates(params, updates), stats, state

  gradients, _ = jax.grad(loss_fn, has_aux=True)(params, stats)
  updates, _ = tx.update(gradients, tx.init(params), params)
  chosen = gsm_optax.keep_top_saliency(DENSITY, prunable=is_kernel)
  passed, _ = chosen.update(gradients, chosen.init(params), params)
  is_weight = is_kernel(params)
  number, size = 0, 0
  for update, passes, gradient, prunable in zip(
    *map(jax.tree.leaves, (updates, passed, gradients, is_weight)), strict=True
  ):
    if prunable:
      number, size = number + int(jnp.count_nonzero(passes)), size + gradient.size
    else:
      np.testing.assert_array_equal(passes, gradient)
      np.testing.assert_allclose(update, -0.05 * gradient, rtol=1e-6)
  assert number == int(DENSITY * size)

  state, losses = tx.init(params), []
  for _ in range(40):
    loss, params, stats, state = step(params, stats, state)
    losses.append(float(loss))
  assert_falls(losses)
  pruned = gsm_optax.prune(params, DENSITY, prunable=is_kernel)
  weights = [layer["w"] for layer in pruned.values() if "w" in layer]
  assert number_of_nonzero(weights) == int(DENSITY * size)
  for name, layer in params.items():
    for leaf in layer.keys() - {"w"}:
      np.testing.assert_array_equal(pruned[name][leaf], layer[leaf])
  assert model.apply(pruned, stats, INPUTS, False)[0].shape == (64, 4)
