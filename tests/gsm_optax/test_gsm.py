"""What `gsm` and `keep_top_saliency` do to gradients, in the paper's terms."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_params import PARAMS, passed, random_tree, trajectory

from gsm_optax import gsm, keep_top_saliency


@pytest.mark.parametrize("nesterov", [False, True])
def test_at_density_1_it_is_sgd_with_weight_decay_to_the_last_bit(nesterov):
  gradients = [random_tree(seed) for seed in range(1, 101)]
  is_kernel = {name: "kernel" in name for name in PARAMS}
  sgd = optax.chain(
    optax.add_decayed_weights(1e-2, mask=is_kernel), optax.sgd(0.03, 0.95, nesterov)
  )
  pruning = gsm(0.03, 1.0, 0.95, 1e-2, nesterov=nesterov)
  chex.assert_trees_all_equal(
    trajectory(pruning, PARAMS, gradients), trajectory(sgd, PARAMS, gradients)
  )


@pytest.mark.parametrize("nesterov", [False, True])
def test_passive_weights_see_decay_and_momentum_alone(nesterov):
  # A weight is passive where its gradient is the smaller one: all but the first row.
  params = {"kernel": jnp.asarray(np.random.default_rng(0).uniform(1, 2, (4, 5)))}
  gradients = {"kernel": jnp.full((4, 5), 1e-3).at[0].set(1.0)}
  without_gradient = {"kernel": jnp.zeros((4, 5))}
  settings = {"density": 0.25, "momentum": 0.9, "weight_decay": 1e-2}
  tx = gsm(0.01, **settings, nesterov=nesterov)
  found = trajectory(tx, params, [gradients] * 50)
  decayed = trajectory(tx, params, [without_gradient] * 50)
  for weights, only_decayed in zip(found, decayed, strict=True):
    np.testing.assert_array_equal(weights["kernel"][1:], only_decayed["kernel"][1:])
    assert (weights["kernel"][0] < only_decayed["kernel"][0]).all()


@pytest.mark.parametrize("schedules", [False, True])
def test_passive_weights_may_have_a_decay_of_their_own(schedules):
  decays = (1e-2, 7e-2)
  active, passive = ((lambda _, d=d: d) if schedules else d for d in decays)
  tx = gsm(0.1, 0.25, 0.9, active, nesterov=True, passive_weight_decay=passive)
  masking = keep_top_saliency(0.25)
  select, mask_state = jax.jit(masking.update), masking.init(PARAMS)
  # The equations again, in NumPy.
  weights = {name: np.asarray(leaf, np.float64) for name, leaf in PARAMS.items()}
  momenta = {name: np.zeros_like(leaf) for name, leaf in weights.items()}
  all_gradients = [random_tree(seed) for seed in range(1, 30)]
  found = trajectory(tx, PARAMS, all_gradients)
  for step, gradients in enumerate(all_gradients):
    params = PARAMS if not step else found[step - 1]
    masked, mask_state = select(gradients, mask_state, params)
    for name in weights:
      g = np.asarray(masked[name], np.float64)
      if "kernel" in name:
        g = g + np.where(g == 0, decays[1], decays[0]) * weights[name]
      momenta[name] = 0.9 * momenta[name] + g
      weights[name] = weights[name] - 0.1 * (g + 0.9 * momenta[name])
    chex.assert_trees_all_close(found[step], weights, rtol=1e-4, atol=1e-6)
  with_one_decay = gsm(0.1, 0.25, 0.9, 1e-2, passive_weight_decay=1e-2)
  chex.assert_trees_all_equal(
    trajectory(with_one_decay, PARAMS, all_gradients),
    trajectory(gsm(0.1, 0.25, 0.9, 1e-2), PARAMS, all_gradients),
  )


def test_an_active_weight_whose_gradient_is_zero_has_the_decay_of_active_ones():
  params, gradients = jnp.ones((2, 2)), jnp.array([[0.0, 0.0], [0.0, 1.0]])
  tx = gsm(1.0, 0.5, 0.0, 0.1, passive_weight_decay=0.7)
  # Fewer than Q saliencies are not zero, so the threshold is 0 and all are active.
  updates, _ = tx.update(gradients, tx.init(params), params)
  np.testing.assert_allclose(updates, -gradients - 0.1)


@pytest.mark.parametrize("empty", [(0, 5), (5, 0), (0, 0)])
def test_an_empty_leaf_changes_nothing(empty):
  params = {"kernel": jnp.array([[1.0, -2.0], [3.0, 4.0]])}
  gradients = {"kernel": jnp.array([[5.0, 1.0], [-1.0, 1.0]])}
  tx = keep_top_saliency(0.5)
  alone, _ = tx.update(gradients, tx.init(params), params)
  params["empty"] = gradients["empty"] = jnp.zeros(empty)
  updates, _ = tx.update(gradients, tx.init(params), params)
  chex.assert_trees_all_equal(updates, {**alone, "empty": jnp.zeros(empty)})


def test_without_momentum_it_is_sgd_without_momentum():
  gradients = [random_tree(seed) for seed in range(1, 6)]
  is_kernel = {name: "kernel" in name for name in PARAMS}
  sgd = optax.chain(optax.add_decayed_weights(1e-2, mask=is_kernel), optax.sgd(0.03))
  pruning = gsm(0.03, 1.0, None, 1e-2)
  chex.assert_trees_all_equal(
    trajectory(pruning, PARAMS, gradients), trajectory(sgd, PARAMS, gradients)
  )
  assert len(pruning.init(PARAMS)) == len(gsm(0.03, 1.0, 0.9).init(PARAMS)) - 1


def test_a_passive_weight_vanishes_by_alpha_eta_over_1_minus_beta_per_step():
  alpha, beta, eta = 0.01, 0.9, 0.05
  tx = gsm(alpha, 0.5, beta, eta, prunable=True)
  params = jnp.array([[100.0, 1.0]])
  history = trajectory(tx, params, [jnp.array([[1.0, 0.0]])] * 1000)
  passive = np.array([params[0, 1] for params in history])
  shrinkage = 1 - passive[200:] / passive[199:-1]
  np.testing.assert_allclose(shrinkage, alpha * eta / (1 - beta), rtol=0.05)


def test_biases_see_their_full_gradient_and_no_decay():
  gradients = [random_tree(seed) for seed in range(1, 21)]
  pruning = trajectory(gsm(0.03, 0.1, 0.9, 0.1), PARAMS, gradients)
  sgd = trajectory(optax.sgd(0.03, 0.9), PARAMS, gradients)
  for name in ("bias_1", "bias_2"):
    chex.assert_trees_all_equal(
      [params[name] for params in pruning], [params[name] for params in sgd]
    )


def test_the_saliency_is_that_of_gradient_and_weight_together():
  gradients, weights = [[1.0, -2.0, 8.0, 3.0]], [[-9.0, 4.0, 0.5, -1.0]]
  np.testing.assert_array_equal(passed(gradients, weights, 0.5), [[1, -2, 0, 0]])


def test_the_layers_compete_for_the_same_places():
  params = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 3)), "bias": jnp.ones(2)}
  gradients = {
    "a": jnp.full((2, 2), 1e-3),
    "b": jnp.arange(6.0).reshape(2, 3),
    "bias": jnp.full(2, 100.0),
  }
  tx = keep_top_saliency(0.3)
  updates, state = tx.update(gradients, tx.init(params), params)
  np.testing.assert_array_equal(updates["a"], np.zeros((2, 2)))
  np.testing.assert_array_equal(updates["b"], [[0, 0, 0], [3, 4, 5]])
  np.testing.assert_array_equal(updates["bias"], gradients["bias"])
  assert state.threshold == 3


def test_ties_with_the_threshold_are_kept():
  gradients = [[1.0, 2.0], [2.0, -2.0], [3.0, 0.5]]
  expected = [[0, 2], [2, -2], [3, 0]]
  np.testing.assert_array_equal(passed(gradients, np.ones((3, 2)), 2 / 6), expected)


def test_where_all_saliencies_are_zero_every_gradient_passes():
  gradients = np.arange(4.0).reshape(2, 2)
  np.testing.assert_array_equal(passed(gradients, np.zeros((2, 2)), 0.25), gradients)


def test_a_weight_that_was_passive_can_return():
  params = jnp.ones((1, 2))
  tx = keep_top_saliency(0.5, prunable=True)
  state = tx.init(params)
  first, state = tx.update(jnp.array([[2.0, 1.0]]), state, params)
  second, state = tx.update(jnp.array([[1.0, 2.0]]), state, params)
  np.testing.assert_array_equal(first, [[2, 0]])
  np.testing.assert_array_equal(second, [[0, 2]])
  assert state.count == 2


def test_eager_equals_jit():
  tx = keep_top_saliency(0.25)
  state, gradients = tx.init(PARAMS), random_tree(1)
  eager = tx.update(gradients, state, PARAMS)
  chex.assert_trees_all_equal(eager, jax.jit(tx.update)(gradients, state, PARAMS))


def test_gsm_is_a_chain_that_can_be_written_by_hand():
  by_hand = optax.chain(
    keep_top_saliency(0.25),
    optax.add_decayed_weights(1e-3, mask={name: "kernel" in name for name in PARAMS}),
    optax.trace(0.9, nesterov=True),
    optax.scale_by_learning_rate(0.1),
  )
  gradients = [random_tree(seed) for seed in range(1, 6)]
  chex.assert_trees_all_equal(
    trajectory(gsm(0.1, 0.25, 0.9, 1e-3, nesterov=True), PARAMS, gradients),
    trajectory(by_hand, PARAMS, gradients),
  )


@pytest.mark.parametrize(
  "prunable",
  [
    {"kernel_1": True, "bias_1": True, "kernel_2": False, "bias_2": False},
    {
      "kernel_1": True,
      "bias_1": True,
      "kernel_2": np.False_,
      "bias_2": jnp.array(0 > 1),
    },
    lambda params: {name: name.endswith("1") for name in params},
  ],
)
def test_prunable_names_the_leaves_that_are_masked_and_decay(prunable):
  tx = gsm(1.0, 1 / 24, 0.0, 0.5, prunable=prunable)
  updates, _ = tx.update(random_tree(1), tx.init(PARAMS), PARAMS)
  decay, gradients = jax.tree.map(lambda w: -0.5 * w, PARAMS), random_tree(1)
  moved = {name: updates[name] != decay[name] for name in PARAMS}
  assert moved["kernel_1"].sum() + moved["bias_1"].sum() == 1
  for name in ("kernel_2", "bias_2"):
    np.testing.assert_array_equal(updates[name], -gradients[name])


def test_prunable_may_be_a_prefix_of_the_params():
  params = {"body": {"kernel": jnp.ones((2, 2))}, "head": {"kernel": jnp.ones((2, 2))}}
  gradients = jax.tree.map(lambda leaf: leaf + jnp.arange(4.0).reshape(2, 2), params)
  tx = keep_top_saliency(0.5, prunable={"body": True, "head": False})
  updates, _ = tx.update(gradients, tx.init(params), params)
  np.testing.assert_array_equal(updates["body"]["kernel"], [[0, 0], [3, 4]])
  np.testing.assert_array_equal(updates["head"]["kernel"], [[1, 2], [3, 4]])
