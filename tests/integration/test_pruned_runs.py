"""Runs that end pruned, under what Optax and the frameworks put around an optimizer."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from flax.training.dynamic_scale import DynamicScale
from flax.training.train_state import TrainState
from regression import (
  DENSITY,
  INPUTS,
  LEARNING_RATE,
  SETTINGS,
  TARGETS,
  assert_falls,
  initial_params,
  kernels,
  loss_fn,
  network,
  number_of_nonzero,
  quota,
  train,
)

import gsm_optax

STEP = 30
SCHEDULE = optax.cosine_decay_schedule(0.02, 50)
RULES = {
  "gsm": gsm_optax.gsm(LEARNING_RATE, **SETTINGS, prune_from=STEP),
  "adamw": gsm_optax.sparsify(
    *(optax.adamw(SCHEDULE), DENSITY),
    passive_weight_decay=lambda step: 5 * SCHEDULE(step),
    prune_from=STEP,
  ),
  "muon": gsm_optax.sparsify(
    *(optax.contrib.muon(0.02), DENSITY),
    passive_weight_decay=0.1,
    mask_gradient=True,
    prune_from=STEP,
  ),
  "gradual": gsm_optax.sparsify(
    *(optax.adam(0.02), optax.polynomial_schedule(1.0, DENSITY, 3, STEP)),
    prune_from=0,
  ),
}
each_rule = pytest.mark.parametrize("tx", RULES.values(), ids=RULES)


def assert_is_pruned(params):
  assert number_of_nonzero(kernels(params)) == quota(initial_params())


@each_rule
def test_the_regression(tx):
  losses, params, _ = train(tx, initial_params(), 60)
  assert_falls(losses)
  assert_is_pruned(params)


@each_rule
def test_multi_steps_counts_its_own_steps(tx):
  _, params, _ = train(optax.MultiSteps(tx, 3), initial_params(), 3 * (STEP + 1) - 1)
  if tx is not RULES["gradual"]:
    assert number_of_nonzero(kernels(params)) > quota(params)
  _, params, _ = train(optax.MultiSteps(tx, 3), initial_params(), 3 * (STEP + 2))
  assert_is_pruned(params)


@each_rule
def test_a_step_that_is_not_finite_is_left_out(tx):
  tx = optax.apply_if_finite(tx, 3)
  _, params, state = train(tx, initial_params(), STEP)
  gradients = jax.grad(loss_fn)(params)
  gradients["1_hidden"]["kernel"] *= jnp.nan
  updates, state = jax.jit(tx.update)(gradients, state, params)
  params = optax.apply_updates(params, updates)
  losses, params, _ = train(tx, params, 20, state)
  assert_is_pruned(params)
  assert losses[-1] < losses[0]


def test_its_numbers_may_be_changed_during_the_run():
  tx = optax.inject_hyperparams(gsm_optax.gsm)(
    LEARNING_RATE, **SETTINGS, prune_from=1000
  )
  _, params, state = train(tx, initial_params(), 20)
  assert number_of_nonzero(kernels(params)) > quota(params)
  state.hyperparams["prune_from"] = jnp.asarray(
    20, state.hyperparams["prune_from"].dtype
  )
  _, params, _ = train(tx, params, 20, state)
  assert_is_pruned(params)


def test_sparsify_within_inject_hyperparams():
  @optax.inject_hyperparams
  def optimizer(learning_rate, density, passive_weight_decay):
    return gsm_optax.sparsify(
      optax.adam(learning_rate), density, passive_weight_decay=passive_weight_decay
    )

  tx = optimizer(0.02, DENSITY, 0.3)
  losses, params, _ = train(tx, initial_params(), 80)
  assert_falls(losses)
  assert_is_pruned(gsm_optax.prune(params, DENSITY))


@each_rule
def test_a_train_state(tx):
  state = TrainState.create(apply_fn=network, params=initial_params(), tx=tx)

  @jax.jit
  def step(state):
    return state.apply_gradients(grads=jax.grad(loss_fn)(state.params))

  for _ in range(STEP + 5):
    state = step(state)
  assert_is_pruned(state.params)


@each_rule
def test_nnx(tx):
  model = nnx.Sequential(
    nnx.Linear(8, 16, rngs=nnx.Rngs(0)), nnx.tanh, nnx.Linear(16, 4, rngs=nnx.Rngs(1))
  )
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

  @nnx.jit
  def step(model, optimizer):
    loss, gradients = nnx.value_and_grad(
      lambda model: jnp.mean((model(INPUTS) - TARGETS) ** 2)
    )(model)
    optimizer.update(model, gradients)
    return loss

  losses = [float(step(model, optimizer)) for _ in range(STEP + 10)]
  assert losses[-1] < losses[0]
  assert_is_pruned(nnx.to_pure_dict(nnx.state(model, nnx.Param)))


def test_an_actor_and_a_critic_have_a_share_each():
  params = {"actor": initial_params(), "critic": initial_params()}
  labels = {"actor": "actor", "critic": "critic"}
  densities = {"actor": 0.5, "critic": 0.125}
  tx = optax.partition(
    {
      name: gsm_optax.gsm(LEARNING_RATE, **(SETTINGS | {"density": density}))
      for name, density in densities.items()
    },
    labels,
  )

  def both(params):
    return loss_fn(params["actor"]) + loss_fn(params["critic"])

  losses, params, _ = train(tx, params, 150, loss_fn=both)
  assert_falls(losses)
  pruned = params
  for name, density in densities.items():
    part = gsm_optax.paths(f"{name}/*/kernel")
    pruned = gsm_optax.apply_mask(
      pruned, gsm_optax.magnitude_mask(pruned, density, prunable=part)
    )
    report = gsm_optax.sparsity_report(pruned, prunable=part)
    assert report.kept == int(density * 192)
  chex.assert_trees_all_equal(
    pruned["actor"],
    gsm_optax.apply_mask(
      params["actor"], gsm_optax.magnitude_mask(params["actor"], 0.5)
    ),
  )


@each_rule
def test_masked_leaves_alone_what_is_not_its_own(tx):
  mask = {"1_hidden": True, "2_output": False}
  rest = jax.tree.map(lambda own: not own, mask)
  both = optax.chain(optax.masked(tx, mask), optax.masked(optax.sgd(0.1), rest))
  losses, params, _ = train(both, initial_params(), STEP + 5)
  assert losses[-1] < losses[0]
  assert number_of_nonzero([params["1_hidden"]["kernel"]]) == int(DENSITY * 128)
  assert number_of_nonzero([params["2_output"]["kernel"]]) == 64


def test_around_schedule_free_the_mask_is_that_of_the_params():
  inner = optax.contrib.schedule_free_adamw(0.05, warmup_steps=5)
  tx = gsm_optax.sparsify(inner, DENSITY, passive_weight_decay=0.1, prune_from=STEP)
  losses, params, state = train(tx, initial_params(), 60)
  assert_is_pruned(params)
  averaged = optax.contrib.schedule_free_eval_params(state.inner, params)
  averaged = gsm_optax.apply_mask(averaged, gsm_optax.nonzero_mask(params))
  assert_is_pruned(averaged)
  assert_falls([losses[0], float(loss_fn(averaged))])


@each_rule
def test_an_average_of_pruned_params_is_pruned_by_their_mask(tx):
  params, average = initial_params(), initial_params()
  state = tx.init(params)
  for _ in range(STEP + 5):
    _, params, state = train(tx, params, 1, state)
    average = optax.incremental_update(params, average, 0.2)
  assert number_of_nonzero(kernels(average)) > quota(average)
  average = gsm_optax.apply_mask(average, gsm_optax.nonzero_mask(params))
  assert_is_pruned(average)


@each_rule
def test_loss_scaling_in_float16(tx):
  params, scale = initial_params(), DynamicScale(scale=jnp.float32(2.0**24))
  state = tx.init(params)

  def half(params):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), params)
    outputs = network(params, INPUTS.astype(jnp.float16))
    return jnp.mean((outputs.astype(jnp.float32) - TARGETS) ** 2)

  @jax.jit
  def step(params, state, scale):
    scale, is_finite, loss, gradients = scale.value_and_grad(half)(params)
    updates, new_state = tx.update(gradients, state, params)
    new_params = optax.apply_updates(params, updates)
    # What is not finite is thrown away, the state with it.
    keep = lambda new, old: jnp.where(is_finite, new, old)  # noqa: E731
    params, state = jax.tree.map(keep, (new_params, new_state), (params, state))
    return params, state, scale, is_finite, loss

  finite, losses = [], []
  for _ in range(STEP + 30):
    params, state, scale, is_finite, loss = step(params, state, scale)
    finite.append(bool(is_finite))
    losses.append(float(loss))
  assert not finite[0]
  assert sum(finite) > STEP + 1
  assert losses[-1] < losses[0]
  assert_is_pruned(params)
