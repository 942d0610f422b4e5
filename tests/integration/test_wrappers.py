"""What Optax puts around, before and behind a transformation works with these too."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from regression import (
  DENSITY,
  INPUTS,
  LEARNING_RATE,
  SETTINGS,
  TARGETS,
  assert_falls,
  assert_pruned,
  gsm,
  initial_params,
  kernels,
  loss_fn,
  network,
  number_of_nonzero,
  others,
  quota,
  squared_error,
  step_of,
  train,
)

import gsm_optax


@jax.jit
def gradients_of(params):
  return jax.grad(loss_fn)(params)


def assert_trains_and_is_pruned(tx):
  params = initial_params()
  losses, trained, state = train(tx, params)
  assert_falls(losses)
  assert_pruned(gsm_optax.prune(trained, DENSITY), trained)
  return trained, state


def assert_others_see_their_full_gradient(tx, scale=-LEARNING_RATE):
  """Under the first update."""
  params = initial_params()
  gradients = gradients_of(params)
  updates, _ = jax.jit(tx.update)(gradients, tx.init(params), params)
  for update, gradient in zip(others(updates), others(gradients), strict=True):
    np.testing.assert_allclose(update, scale * gradient, rtol=1e-5)


# Chains


def test_behind_clipping_by_the_global_norm_the_choice_is_the_same():
  # Clipping scales all saliencies alike.
  params = initial_params()
  gradients = gradients_of(params)
  chosen = gsm_optax.keep_top_saliency(DENSITY)
  clipped = optax.chain(optax.clip_by_global_norm(0.01), chosen)
  alone, _ = chosen.update(gradients, chosen.init(params), params)
  behind, state = clipped.update(gradients, clipped.init(params), params)
  assert optax.tree.norm(gradients) > 0.1
  chex.assert_trees_all_equal(
    *(jax.tree.map(lambda leaf: leaf != 0, updates) for updates in (alone, behind))
  )
  assert number_of_nonzero(kernels(behind)) == quota(params)
  assert optax.tree.get(state, "threshold") > 0


def test_a_chain_with_clipping_trains():
  tx = optax.chain(optax.clip_by_global_norm(1.0), gsm())
  assert_trains_and_is_pruned(tx)
  assert_others_see_their_full_gradient(
    optax.chain(optax.clip_by_global_norm(1e3), gsm())
  )


def test_a_named_chain_trains_as_a_chain_does():
  links = {"choice": gsm_optax.keep_top_saliency(DENSITY), "sgd": optax.sgd(0.05, 0.9)}
  named, _ = assert_trains_and_is_pruned(optax.named_chain(*links.items()))
  _, chained, _ = train(optax.chain(*links.values()), initial_params())
  chex.assert_trees_all_equal(named, chained)


def test_behind_it_may_be_adamw():
  choice = gsm_optax.keep_top_saliency(DENSITY)
  tx = optax.chain(choice, optax.adamw(1e-2, weight_decay=1e-2))
  params, state = assert_trains_and_is_pruned(tx)
  assert optax.tree.get(state, "threshold") > 0
  # The statistics of what is no kernel are those of its full gradient.
  gradients = gradients_of(params)
  _, state = tx.update(gradients, tx.init(params), params)
  for mean, gradient in zip(
    others(optax.tree.get(state, "mu")), others(gradients), strict=True
  ):
    np.testing.assert_allclose(mean, 0.1 * gradient, rtol=1e-5)


def test_behind_it_may_be_muon():
  choice = gsm_optax.keep_top_saliency(DENSITY)
  tx = optax.chain(choice, optax.contrib.muon(2e-2, weight_decay=1e-2))
  _, state = assert_trains_and_is_pruned(tx)
  assert optax.tree.get(state, "threshold") > 0


def test_its_updates_may_be_averaged():
  tx = optax.chain(gsm(), optax.ema(0.5, debias=True))
  assert_trains_and_is_pruned(tx)
  assert_others_see_their_full_gradient(tx)


def test_an_average_of_the_params_can_be_pruned():
  params = initial_params()
  tx = gsm()

  @jax.jit
  def step(params, state, average):
    loss, gradients = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(gradients, state, params)
    params = optax.apply_updates(params, updates)
    return loss, params, state, optax.incremental_update(params, average, 0.2)

  state, average, losses = tx.init(params), params, []
  for _ in range(40):
    loss, params, state, average = step(params, state, average)
    losses.append(float(loss))
  assert_falls([losses[0], float(loss_fn(average))])
  assert_pruned(gsm_optax.prune(average, DENSITY), average)


# Parts of the params


def is_hidden_kernel(params):
  """True for the kernel of the hidden layer."""
  return {
    name: jax.tree.map(lambda leaf, name=name: name[0] == "1" and leaf.ndim > 1, layer)
    for name, layer in params.items()
  }


def test_masked_trains_the_part_that_is_true():
  params = initial_params()
  body = {"1_hidden": True, "2_output": False}
  head = {"1_hidden": False, "2_output": True}
  tx = optax.chain(
    optax.masked(gsm(), body), optax.masked(optax.sgd(LEARNING_RATE, 0.9), head)
  )
  assert_others_see_their_full_gradient(tx)
  losses, trained, state = train(tx, params)
  assert_falls(losses)
  assert optax.tree.get(state, "threshold") > 0
  pruned = gsm_optax.prune(trained, DENSITY, prunable=is_hidden_kernel)
  assert number_of_nonzero([pruned["1_hidden"]["kernel"]]) == int(DENSITY * 8 * 16)
  chex.assert_trees_all_equal(pruned["2_output"], trained["2_output"])
  chex.assert_trees_all_equal(pruned["1_hidden"]["bias"], trained["1_hidden"]["bias"])


def test_partition_trains_kernels_with_gsm_and_embeddings_with_adam():
  rng = np.random.default_rng(2)
  tokens = rng.integers(0, 10, 64)
  embedding = jnp.asarray(rng.normal(size=(10, 8)), jnp.float32)
  params = {"embedding": embedding, "network": initial_params()}
  labels = {"embedding": "adam", "network": "gsm"}
  transforms = {"gsm": gsm(), "adam": optax.adam(1e-2)}
  tx = optax.partition(transforms, labels)

  def loss_fn(params):
    bias_1, kernel_1, bias_2, kernel_2 = jax.tree.leaves(params["network"])
    hidden = jnp.tanh((INPUTS + params["embedding"][tokens]) @ kernel_1 + bias_1)
    return squared_error(hidden @ kernel_2 + bias_2)

  losses, trained, state = train(tx, params, 80, loss_fn=loss_fn)
  assert_falls(losses)
  assert optax.tree.get(state, "threshold") > 0

  # The embedding takes none of the places, and Adam sees all of its gradient.
  gradients = jax.grad(loss_fn)(params)
  updates, _ = tx.update(gradients, tx.init(params), params)
  for part, alone in [
    ("embedding", transforms["adam"]),
    ("network", transforms["gsm"]),
  ]:
    expected, _ = alone.update(gradients[part], alone.init(params[part]), params[part])
    chex.assert_trees_all_close(updates[part], expected, rtol=1e-6)

  prunable = {
    "embedding": False,
    "network": jax.tree.map(lambda leaf: leaf.ndim > 1, params["network"]),
  }
  pruned = gsm_optax.prune(trained, DENSITY, prunable=prunable)
  assert_pruned(pruned["network"], trained["network"])
  np.testing.assert_array_equal(pruned["embedding"], trained["embedding"])
  assert (pruned["embedding"] != params["embedding"]).any()


# Wrappers


def test_multi_steps_chooses_once_for_the_mean_of_its_batches():
  params = initial_params()
  batches = list(zip(np.split(INPUTS, 4), np.split(TARGETS, 4), strict=True))

  def loss_of(params, batch):
    inputs, targets = batch
    return jnp.mean((network(params, inputs) - targets) ** 2)

  tx = optax.MultiSteps(gsm(), every_k_schedule=4)

  @jax.jit
  def step(params, state, batch):
    updates, state = tx.update(jax.grad(loss_of)(params, batch), state, params)
    return optax.apply_updates(params, updates), state

  whole, whole_state = params, gsm().init(params)
  state, losses = tx.init(params), []
  for _ in range(40):
    losses.append(float(loss_fn(params)))
    for batch in batches:
      params, state = step(params, state, batch)
    _, _, _, whole, whole_state = step_of(gsm())(whole, whole_state)
  assert_falls(losses)
  assert optax.tree.get(state.inner_opt_state[0], "count") == 40
  assert_pruned(gsm_optax.prune(params, DENSITY), params)
  # The means are rounded otherwise.
  chex.assert_trees_all_close(params, whole, atol=1e-4)


def test_inject_hyperparams_lets_all_numbers_be_changed_during_the_run():
  stages = [
    {"learning_rate": 0.05, "density": 0.5, "momentum": 0.9, "weight_decay": 1e-2},
    {"learning_rate": 0.02, "density": 0.25, "momentum": 0.95, "weight_decay": 1e-2},
    {"learning_rate": 0.005, "density": 0.25, "momentum": 0.5, "weight_decay": 0.0},
  ]
  tx = optax.inject_hyperparams(gsm_optax.gsm)(**stages[0])
  params = expected = initial_params()
  state, expected_state = tx.init(params), gsm().init(params)
  traces = 0

  @jax.jit
  def step(params, state):
    nonlocal traces
    traces += 1
    loss, gradients = jax.value_and_grad(loss_fn)(params)
    updates, state = tx.update(gradients, state, params)
    return loss, optax.apply_updates(params, updates), state

  losses = []
  for stage in stages:
    for name, value in stage.items():
      state.hyperparams[name] = jnp.asarray(value, state.hyperparams[name].dtype)
    for _ in range(20):
      loss, params, state = step(params, state)
      losses.append(float(loss))
    _, expected, expected_state = train(
      gsm_optax.gsm(**stage), expected, 20, expected_state
    )
  assert traces == 1
  assert_falls(losses)
  assert_pruned(gsm_optax.prune(params, DENSITY), params)
  # Numbers known to the compiler may be rounded otherwise than those that are not.
  chex.assert_trees_all_close(params, expected, atol=1e-5)


def test_apply_if_finite_leaves_out_a_step_with_a_nan():
  params = initial_params()
  tx = optax.apply_if_finite(gsm(), max_consecutive_errors=2)
  _, params, state = train(tx, params, 20)
  gradients = gradients_of(params)
  kernel = gradients["1_hidden"]["kernel"]
  broken = gradients | {
    "1_hidden": gradients["1_hidden"] | {"kernel": kernel.at[3, 3].set(jnp.nan)}
  }
  updates, after = jax.jit(tx.update)(broken, state, params)
  assert number_of_nonzero(jax.tree.leaves(updates)) == 0
  assert (int(after.total_notfinite), int(after.notfinite_count)) == (1, 1)
  chex.assert_trees_all_equal(after.inner_state, state.inner_state)

  losses, trained, _ = train(tx, params, 20, after)
  _, uninterrupted, _ = train(gsm(), initial_params(), 40)
  # Compiled otherwise, and so rounded otherwise.
  chex.assert_trees_all_close(trained, uninterrupted, atol=1e-5)
  assert losses[-1] < losses[0]
  assert_pruned(gsm_optax.prune(trained, DENSITY), trained)


def test_behind_gsm_apply_if_finite_would_still_see_the_nan():
  # A saliency that is not a number passes, and so reaches whoever watches.
  params = initial_params()
  gradients = gradients_of(params)
  gradients["2_output"]["kernel"] = gradients["2_output"]["kernel"].at[0].set(jnp.nan)
  tx = optax.chain(
    gsm_optax.keep_top_saliency(DENSITY), optax.apply_if_finite(optax.sgd(0.1), 2)
  )
  updates, state = tx.update(gradients, tx.init(params), params)
  assert number_of_nonzero(jax.tree.leaves(updates)) == 0
  assert state[1].total_notfinite == 1


def test_schedule_free_averages_and_its_average_is_pruned():
  # Its own averaging takes the place of momentum.
  learning_rate = 0.5
  inner = gsm_optax.gsm(learning_rate, DENSITY, 0.0, 1e-2)
  tx = optax.contrib.schedule_free(inner, learning_rate, b1=0.9)
  losses, params, state = train(tx, initial_params(), 60)
  assert_falls(losses)
  averaged = optax.contrib.schedule_free_eval_params(state, params)
  assert_falls([losses[0], float(loss_fn(averaged))])
  assert_pruned(gsm_optax.prune(averaged, DENSITY), averaged)


def lookahead_training(fast, params, steps=40):
  """Losses of the slow params, and the params, fast and slow."""
  tx = optax.lookahead(fast, sync_period=5, slow_step_size=0.5)
  params = optax.LookaheadParams.init_synced(params)
  state, losses = tx.init(params), []

  @jax.jit
  def step(params, state):
    updates, state = tx.update(gradients_of(params.fast), state, params)
    return loss_fn(params.slow), optax.apply_updates(params, updates), state

  for _ in range(steps):
    loss, params, state = step(params, state)
    losses.append(float(loss))
  return losses, params


def test_lookahead_has_slow_params_that_are_pruned():
  losses, params = lookahead_training(gsm(), initial_params())
  assert_falls(losses)
  assert_pruned(gsm_optax.prune(params.slow, DENSITY), params.slow)


# Pruned weights held at zero


def chained(*links):
  return lambda frozen: optax.chain(*links, frozen)


def choice():
  return gsm_optax.keep_top_saliency(DENSITY)


FREEZING = {
  "gsm": chained(gsm()),
  "momentum and decay": chained(optax.add_decayed_weights(0.1), optax.sgd(0.05, 0.9)),
  "nesterov": chained(optax.sgd(0.05, 0.9, nesterov=True)),
  "adam": chained(optax.adam(1e-2)),
  "adamw": chained(choice(), optax.adamw(1e-2, weight_decay=0.1)),
  "muon": chained(choice(), optax.contrib.muon(2e-2, weight_decay=0.1)),
  "clipping": chained(optax.clip_by_global_norm(1.0), optax.adam(1e-2)),
  "average of updates": chained(optax.adam(1e-2), optax.ema(0.5)),
  "masked": chained(
    optax.masked(optax.adam(1e-2), {"1_hidden": True, "2_output": False}),
    optax.masked(optax.sgd(0.05, 0.9), {"1_hidden": False, "2_output": True}),
  ),
  "partition": chained(
    optax.partition(
      {"adam": optax.adam(1e-2), "gsm": gsm()}, {"1_hidden": "gsm", "2_output": "adam"}
    )
  ),
  "MultiSteps": lambda frozen: optax.MultiSteps(
    optax.chain(optax.adam(2e-2), frozen), every_k_schedule=2
  ),
  "inject_hyperparams": chained(
    optax.inject_hyperparams(gsm_optax.gsm)(LEARNING_RATE, **SETTINGS)
  ),
  "apply_if_finite": lambda frozen: optax.apply_if_finite(
    optax.chain(optax.adam(1e-2), frozen), 2
  ),
  "schedule_free": lambda frozen: optax.contrib.schedule_free(
    optax.chain(optax.sgd(0.5), frozen), 0.5, b1=0.9
  ),
  "around schedule_free": chained(
    optax.contrib.schedule_free(optax.sgd(0.5), 0.5, b1=0.9)
  ),
}


def assert_zeros_are_held(before, after):
  for old, new in zip(kernels(before), kernels(after), strict=True):
    np.testing.assert_array_equal(new[old == 0], 0)
    assert (new[old != 0] != old[old != 0]).any()
  for old, new in zip(others(before), others(after), strict=True):
    assert (new != old).any()


@pytest.mark.parametrize("wrap", FREEZING.values(), ids=FREEZING.keys())
def test_freeze_pruned_holds_the_zeros_of(wrap):
  params = gsm_optax.prune(initial_params(), DENSITY)
  mask = gsm_optax.magnitude_mask(params, DENSITY)
  losses, trained, state = train(wrap(gsm_optax.freeze_pruned(mask)), params, 60)
  assert losses[-1] < 0.7 * losses[0]
  assert_zeros_are_held(params, trained)
  if isinstance(state, optax.contrib.ScheduleFreeState):
    assert_zeros_are_held(
      params, optax.contrib.schedule_free_eval_params(state, trained)
    )


def test_freeze_pruned_holds_the_zeros_of_lookahead():
  params = gsm_optax.prune(initial_params(), DENSITY)
  mask = gsm_optax.magnitude_mask(params, DENSITY)
  fast = optax.chain(optax.adam(2e-2), gsm_optax.freeze_pruned(mask))
  losses, trained = lookahead_training(fast, params, 60)
  assert losses[-1] < 0.7 * losses[0]
  assert_zeros_are_held(params, trained.fast)
  assert_zeros_are_held(params, trained.slow)


def test_without_freeze_pruned_adam_would_move_them():
  params = gsm_optax.prune(initial_params(), DENSITY)
  _, trained, _ = train(optax.adam(1e-2), params, 5)
  assert number_of_nonzero(kernels(trained)) > quota(params)
