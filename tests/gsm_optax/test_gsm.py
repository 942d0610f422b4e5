"""What `gsm` and `keep_top_saliency` do to gradients, in the paper's terms."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsm_optax import gsm, keep_top_saliency

NAN, INF = np.nan, np.inf


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


# The paper's equations


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


# Density


def active(updates):
  return sum(int((updates[name] != 0).sum()) for name in PARAMS if "kernel" in name)


@pytest.mark.parametrize(
  ("density", "q"),
  [(1 / 32, 1), (0.1, 3), (0.29, 9), (0.5, 16), (0.999, 31), (1.0, 32)],
)
def test_a_number_a_traced_scalar_and_a_schedule_agree(density, q):
  gradients = random_tree(1)

  @jax.jit
  def updates_of(scalar):
    forms = (density, np.float64(density), scalar, lambda count: scalar + 0 * count)
    chains = [keep_top_saliency(form) for form in forms]
    return [tx.update(gradients, tx.init(PARAMS), PARAMS)[0] for tx in chains]

  first, *others = updates_of(jnp.float32(density))
  assert active(first) == q
  for other in others:
    chex.assert_trees_all_equal(other, first)


@pytest.mark.parametrize(
  ("density", "q"), [(0.0, 1), (-1.0, 1), (NAN, 1), (1e-9, 1), (1.5, 32), (INF, 32)]
)
def test_a_traced_density_is_clipped_to_one_weight_and_all(density, q):
  @jax.jit
  def updates_of(density):
    tx = keep_top_saliency(density)
    return tx.update(random_tree(1), tx.init(PARAMS), PARAMS)[0]

  assert active(updates_of(density)) == q


def test_a_schedule_is_asked_for_the_density_of_each_step():
  tx = keep_top_saliency(optax.linear_schedule(1.0, 0.25, transition_steps=3))
  state, numbers = tx.init(PARAMS), []
  for seed in range(1, 6):
    updates, state = tx.update(random_tree(seed), state, PARAMS)
    numbers.append(active(updates))
  assert numbers == [32, 24, 16, 8, 8]


# Types


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("params_dtype", ["float16", "bfloat16", "float32", "float64"])
def test_saliency_is_float32_and_updates_keep_the_gradients_type(dtype, params_dtype):
  # Products down to 2e-13, where float16 has none.
  gradients = jnp.array([[1e-6, 2e-6], [3e-6, 4e-6]], dtype)
  params = jnp.array([[2e-7, 3e-7], [3e-7, 1e-6]], params_dtype)
  tx = keep_top_saliency(0.5)
  updates, state = tx.update(gradients, tx.init(params), params)
  assert updates.dtype == dtype
  assert state.threshold.dtype == np.float32
  saliency = np.asarray(gradients, np.float32) * np.asarray(params, np.float32)
  assert state.threshold == np.sort(saliency.ravel())[-2]
  np.testing.assert_array_equal(
    updates, np.where(saliency >= state.threshold, gradients, 0)
  )


def test_a_complex_weight_has_the_saliency_of_its_magnitude():
  gradients = [[3 + 4j, -4.0, 0j]]
  np.testing.assert_array_equal(
    passed(gradients, [[1j, 1.0, 9.0]], 0.5), [[3 + 4j, 0, 0]]
  )


def test_the_accumulator_has_the_type_that_is_asked_for():
  state = gsm(0.1, accumulator_dtype=jnp.bfloat16).init(PARAMS)
  chex.assert_trees_all_equal_dtypes(
    optax.tree.get(state, "trace"), random_tree(0, jnp.bfloat16)
  )


# What is not a number


def test_other_masks_are_those_for_a_zero_where_a_gradient_is_not_a_number():
  gradients = np.arange(1.0, 9.0).reshape(2, 4)
  spoilt = gradients.copy()
  spoilt[1, 1] = NAN
  gradients[1, 1] = 0
  expected = passed(gradients, np.ones((2, 4)), 0.5)
  found = passed(spoilt, np.ones((2, 4)), 0.5)
  np.testing.assert_array_equal(found, expected.at[1, 1].set(NAN))


@pytest.mark.parametrize("infinity", [INF, -INF])
def test_an_infinite_saliency_is_the_greatest(infinity):
  gradients = [[1.0, infinity, 3.0, 2.0]]
  np.testing.assert_array_equal(
    passed(gradients, np.ones((1, 4)), 0.5), [[0, infinity, 3, 0]]
  )
  np.testing.assert_array_equal(
    passed(gradients, np.ones((1, 4)), 0.25), [[0, infinity, 0, 0]]
  )


def test_an_infinite_gradient_of_a_zero_weight_is_not_a_number():
  gradients = [[1.0, INF, 3.0, 2.0]]
  np.testing.assert_array_equal(
    passed(gradients, [[1.0, 0.0, 1.0, 1.0]], 0.5), [[0, INF, 3, 2]]
  )


def test_all_numbers_pass_where_there_are_fewer_than_places():
  gradients = [[NAN, 1.0, NAN, 2.0]]
  np.testing.assert_array_equal(passed(gradients, np.ones((1, 4)), 0.75), gradients)


def test_a_gradient_without_numbers_passes_whole():
  gradients = np.full((2, 2), NAN)
  np.testing.assert_array_equal(passed(gradients, np.ones((2, 2)), 0.25), gradients)


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("leaf", ["kernel_1", "bias_1"])
def test_apply_if_finite_recovers(leaf, bad):
  good = [random_tree(seed) for seed in range(1, 5)]
  spoilt = dict(good[0])
  spoilt[leaf] = spoilt[leaf].at[0].set(bad)
  tx = optax.apply_if_finite(gsm(0.1, 0.25, 0.9, 1e-2), max_consecutive_errors=3)
  expected = trajectory(tx, PARAMS, good)
  found = trajectory(tx, PARAMS, [*good[:2], spoilt, spoilt, *good[2:]])
  chex.assert_trees_all_equal(found[:2] + found[4:], expected)
  chex.assert_trees_all_equal(found[2], found[1])


# In a training loop


def test_a_run_is_traced_once():
  tx = gsm(
    optax.cosine_decay_schedule(0.1, 5),
    optax.linear_schedule(1.0, 0.1, 5),
    weight_decay=optax.constant_schedule(1e-4),
  )

  @jax.jit
  @chex.assert_max_traces(n=1)
  def step(params, state, gradients):
    updates, state = tx.update(gradients, state, params)
    return optax.apply_updates(params, updates), state

  params, state = PARAMS, tx.init(PARAMS)
  for seed in range(5):
    params, state = step(params, state, random_tree(seed))


def test_an_update_moves_nothing_to_or_from_the_host():
  tx = gsm(0.1, optax.linear_schedule(1.0, 0.1, 5))
  state, gradients = tx.init(PARAMS), random_tree(1)
  update = jax.jit(tx.update)
  with jax.transfer_guard("disallow"):
    update(gradients, state, PARAMS)
  assert "callback" not in str(jax.make_jaxpr(tx.update)(gradients, state, PARAMS))


def test_the_state_is_three_scalars_and_one_momentum():
  selection, *rest = gsm(0.1).init(PARAMS)
  leaves = jax.tree.leaves(selection)
  assert [leaf.shape for leaf in leaves] == [(), (), ()]
  assert [leaf.dtype for leaf in leaves] == [np.int32, np.float32, np.int32]
  chex.assert_trees_all_equal_shapes(jax.tree.leaves(rest), jax.tree.leaves(PARAMS))


def test_a_mesh_of_one_device_with_explicit_axes_changes_nothing():
  kind = jax.sharding.AxisType.Explicit
  mesh = jax.make_mesh((1,), ("x",), axis_types=(kind,))
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
  tx = gsm(0.1, 0.25)
  params, gradients = random_tree(0), random_tree(1)
  expected, _ = jax.jit(tx.update)(gradients, tx.init(params), params)
  params, gradients = jax.device_put((params, gradients), sharding)
  with jax.set_mesh(mesh):
    updates, _ = jax.jit(tx.update)(gradients, tx.init(params), params)
  chex.assert_trees_all_equal(updates, expected)
