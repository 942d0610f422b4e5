"""Active weights get the optimizer's update, passive ones shrink, and nothing else."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gsm_optax
from gsm_optax import blocks, sparsify

OPTIMIZERS = {
  "sgd": lambda: optax.sgd(0.1, 0.9, nesterov=True),
  "adamw": lambda: optax.adamw(0.1, weight_decay=0.1),
  "clipped": lambda: optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1)),
  "muon": lambda: optax.contrib.muon(0.1),
  "lion": lambda: optax.lion(0.1),
}
each_optimizer = pytest.mark.parametrize(
  "optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS
)
DENSITY, DECAY = 0.3, 0.05


def trees(seed):
  rng = np.random.default_rng(seed)
  shapes = {"a": (4, 5), "bias": (5,), "c": (5, 3)}
  return {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}


def by_sorting(scores):
  """Which are among the Q greatest of all kernels."""
  kernels = {name: scores[name] for name in ("a", "c")}
  every = np.sort(np.concatenate([leaf.ravel() for leaf in kernels.values()]))
  least = every[-int(DENSITY * every.size)]
  active = {name: leaf >= least for name, leaf in kernels.items()}
  return active | {"bias": np.ones(5, bool)}


def expected_step(optimizer, gradients, state, params, select_by, mask_gradient):
  """The equation, step by step."""

  def times(a, b):
    return jax.tree.map(
      lambda x, y: np.abs(np.float32(x)) * np.abs(np.float32(y)), a, b
    )

  def masked(tree, active):
    return jax.tree.map(lambda leaf, mask: np.where(mask, leaf, 0), tree, active)

  active = by_sorting(times(gradients, params))
  seen = masked(gradients, active) if mask_gradient else gradients
  updates, state = optimizer.update(seen, state, params)
  if select_by == "update":
    active = by_sorting(times(updates, params))
  updates = jax.tree.map(
    lambda update, mask, weight: np.where(mask, update, -DECAY * weight),
    *(updates, active, params),
  )
  return updates, state, active


@pytest.mark.usefixtures("x64")
@each_optimizer
@pytest.mark.parametrize(
  ("select_by", "mask_gradient"),
  [("gradient", False), ("gradient", True), ("update", False)],
)
def test_the_equation(optimizer, select_by, mask_gradient):
  optimizer = optimizer()
  tx = sparsify(
    *(optimizer, DENSITY),
    passive_weight_decay=DECAY,
    select_by=select_by,
    mask_gradient=mask_gradient,
  )
  update = jax.jit(tx.update)
  params = other = trees(0)
  state, other_state = tx.init(params), optimizer.init(params)
  for seed in range(1, 6):
    updates, state = update(trees(seed), state, params)
    expected, other_state, active = expected_step(
      *(optimizer, trees(seed), other_state, other, select_by, mask_gradient)
    )
    chex.assert_trees_all_close(updates, expected, rtol=1e-9, atol=1e-12)
    assert 0 < sum(int(active[name].sum()) for name in "ac") < 20
    params = optax.apply_updates(params, updates)
    other = jax.tree.map(jnp.add, other, expected)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)
  assert state.selection.count == 5
  chex.assert_trees_all_close(state.inner, other_state, rtol=1e-6, atol=1e-9)


@each_optimizer
def test_at_a_density_of_one_it_is_the_optimizer_itself(optimizer):
  tx, alone = sparsify(optimizer(), 1.0, passive_weight_decay=0.5), optimizer()
  params, gradients = trees(0), trees(1)
  updates, state = tx.update(gradients, tx.init(params), params)
  expected, inner = alone.update(gradients, alone.init(params), params)
  chex.assert_trees_all_equal(updates, expected)
  chex.assert_trees_all_equal(state.inner, inner)


def test_decay_and_density_may_be_schedules():
  seen = []

  def decay(count):
    seen.append(count)
    return 0.1 * (count + 1)

  tx = sparsify(
    optax.sgd(0.1),
    optax.piecewise_constant_schedule(0.75, {1: 1 / 3}),
    passive_weight_decay=decay,
  )
  params, gradients = jnp.array([[4.0, 3.0], [2.0, 1.0]]), jnp.ones((2, 2))
  first, state = tx.update(gradients, tx.init(params), params)
  second, _ = tx.update(gradients, state, params)
  chex.assert_trees_all_close(first, jnp.array([[-0.1, -0.1], [-0.1, -0.1]]))
  chex.assert_trees_all_close(second, jnp.array([[-0.1, -0.6], [-0.4, -0.2]]))
  assert seen


def test_extra_arguments_reach_the_optimizer():
  tx = sparsify(
    optax.chain(optax.sgd(1.0), optax.contrib.reduce_on_plateau(patience=1)),
    0.5,
    passive_weight_decay=0.1,
  )
  params = jnp.ones((2, 2))
  _, state = tx.update(params, tx.init(params), params, value=jnp.float32(3.0))
  assert optax.tree.get(state, "best_value") == 3


def test_what_is_not_prunable_is_the_optimizers():
  tx = sparsify(optax.sgd(0.1), 0.25, passive_weight_decay=1.0, prunable={"a": True})
  params = {"a": jnp.ones((2, 2))}
  tx.update(params, tx.init(params), params)
  tx = sparsify(optax.sgd(0.1), 0.25, passive_weight_decay=1.0)
  params = {"kernel": jnp.eye(2), "bias": jnp.ones(3), "none": None}
  updates, _ = tx.update(params, tx.init(params), params)
  chex.assert_trees_all_close(updates["bias"], -0.1 * jnp.ones(3))
  assert updates["none"] is None


def test_half_precision_keeps_its_types():
  for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
    tx = sparsify(optax.adamw(0.1), 0.25, passive_weight_decay=0.1)
    params = jnp.arange(1, 9, dtype=dtype).reshape(2, 4)
    state = tx.init(params)
    updates, new_state = jax.jit(tx.update)(params, state, params)
    assert updates.dtype == dtype
    chex.assert_trees_all_equal_shapes_and_dtypes(new_state, state)


def test_averaged_saliencies():
  tx = sparsify(optax.sgd(1.0), 0.25, passive_weight_decay=0.0, smoothing=0.9)
  params = jnp.ones((2, 2))
  first = jnp.array([[9.0, 0.0], [0.0, 0.0]])
  _, state = tx.update(first, tx.init(params), params)
  updates, _ = tx.update(jnp.array([[0.5, 1.0], [0, 0]]), state, params)
  chex.assert_trees_all_close(updates, jnp.array([[-0.5, 0.0], [0, 0]]))


GRADUAL = optax.polynomial_schedule(1.0, 0.1, 3, 60)


@pytest.mark.parametrize("select_by", ["gradient", "update"])
@pytest.mark.parametrize("structure", [None, blocks((2, 1))], ids=["weights", "blocks"])
def test_what_is_pruned_has_no_say_in_the_updates_of_the_rest(select_by, structure):
  """Clipping by the norm of all gradients shows whose gradients the optimizer sees."""
  params = {"kernel": jnp.arange(1.0, 9.0).reshape(4, 2), "bias": jnp.zeros(2)}
  tx = sparsify(
    optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1e-3)),
    *(0.5,),
    passive_weight_decay=0.1,
    select_by=select_by,
    prune_from=1,
    structure=structure,
  )
  update = jax.jit(tx.update)
  state, one = tx.init(params), jax.tree.map(jnp.ones_like, params)
  for step in range(3):
    before = params
    updates, state = update(one, state, params)
    params = optax.apply_updates(params, updates)
    clipped = [10, 10, 6][step]  # all gradients; in the end of four weights and biases
    learned = 1e-3 / np.sqrt(clipped)
    np.testing.assert_allclose(params["bias"], before["bias"] - learned, rtol=1e-5)
  assert np.count_nonzero(params["kernel"]) == 4


@each_optimizer
@pytest.mark.parametrize("mask_gradient", [False, True])
def test_gradual_magnitude_pruning(optimizer, mask_gradient):
  """As others write it: every ten steps a mask from a sort, and zeros stay."""
  every, optimizer = 10, optimizer()
  tx = sparsify(
    optimizer,
    lambda step: GRADUAL(step // every * every),
    mask_gradient=mask_gradient,
    prune_from=0,
  )
  update, alone = jax.jit(tx.update), jax.jit(optimizer.update)
  params = other = trees(0)
  state, other_state = tx.init(params), optimizer.init(params)
  mask = jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), params)
  for step in range(80):
    gradients = trees(step + 1)
    updates, state = update(gradients, state, params)
    params = optax.apply_updates(params, updates)

    if step % every == 0:
      magnitudes = np.concatenate([np.abs(other[name]).ravel() for name in "ac"])
      least = np.sort(magnitudes)[-max(int(float(GRADUAL(step)) * 35), 1)]
      mask = {name: np.abs(leaf) >= least for name, leaf in other.items()}
      mask["bias"][:] = True
    # Of what is zero already the optimizer sees nothing, of what goes now it may.
    shown = mask
    if not mask_gradient:
      shown = {name: (leaf != 0) | (step == 0) for name, leaf in other.items()}
      shown["bias"] = mask["bias"]
    seen = jax.tree.map(lambda leaf, keep: jnp.where(keep, leaf, 0), gradients, shown)
    updates, other_state = alone(seen, other_state, other)
    other = optax.apply_updates(other, updates)
    other = jax.tree.map(lambda leaf, keep: jnp.where(keep, leaf, 0), other, mask)
    chex.assert_trees_all_close(params, other, rtol=1e-3, atol=1e-5)
  assert sum(int(jnp.count_nonzero(params[name])) for name in "ac") == 3


@pytest.mark.parametrize("zero", [0, np.int64(0), jnp.int32(0)])
def test_what_prunes_at_once_needs_no_decay(zero):
  tx = sparsify(optax.sgd(0.1), 0.25, prune_from=zero)
  params = jnp.arange(1.0, 9.0).reshape(2, 4)
  updates, _ = tx.update(jnp.ones((2, 4)), tx.init(params), params)
  assert int(jnp.count_nonzero(params + updates)) == 2


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({}, "`passive_weight_decay` must be given"),
    ({"prune_from": 5}, "`passive_weight_decay` must be given"),
    ({"passive_weight_decay": 1.5}, "`passive_weight_decay` must be in"),
    ({"passive_weight_decay": -0.1}, "`passive_weight_decay` must be in"),
    ({"passive_weight_decay": "much"}, "`passive_weight_decay` must be a number"),
    ({"passive_weight_decay": 0.1, "select_by": "w"}, "`select_by` must be 'gradient'"),
    (
      {"passive_weight_decay": 0.1, "select_by": "update", "mask_gradient": True},
      "`mask_gradient` hides",
    ),
    (
      {"passive_weight_decay": 0.1, "prune_from": -1},
      "`prune_from` must be the number",
    ),
    (
      {"passive_weight_decay": 0.1, "prune_from": 1.5},
      "`prune_from` must be the number",
    ),
    (
      {"passive_weight_decay": 0.1, "mask_gradient": "no"},
      "`mask_gradient` must be True or False",
    ),
    ({"passive_weight_decay": 0.1, "select_by": np.ones(2)}, "`select_by` must be"),
    ({"passive_weight_decay": 0.1, "density": 0.0}, "`density` must be in"),
    ({"passive_weight_decay": 0.1, "smoothing": 1.0}, "`smoothing` must be in"),
  ],
)
def test_bad_arguments(arguments, message):
  with pytest.raises(ValueError, match=message):
    sparsify(optax.sgd(0.1), **arguments)


@pytest.mark.parametrize("optimizer", [1e-3, optax.adam, None, {"kernel": 1.0}])
def test_what_is_no_optimizer(optimizer):
  with pytest.raises(ValueError, match="must be a gradient transformation, such as"):
    sparsify(optimizer, passive_weight_decay=0.1)


def test_a_schedule_of_the_decay_is_clipped():
  decays = jnp.array([2.4, -0.5, 0.25])
  tx = sparsify(optax.sgd(0.0), 0.25, passive_weight_decay=lambda step: decays[step])
  params = jnp.arange(1.0, 9.0).reshape(2, 4)
  state = tx.init(params)
  for share in (0.0, 1.0, 0.75):
    updates, state = tx.update(jnp.ones((2, 4)), state, params)
    left = np.asarray(params + updates) / np.asarray(params)
    np.testing.assert_allclose(np.sort(left.ravel()), [share] * 6 + [1.0] * 2)


def test_params_are_needed():
  tx = sparsify(optax.sgd(0.1), 0.5, passive_weight_decay=0.1)
  params = jnp.ones((2, 2))
  with pytest.raises(ValueError, match="pass the params too"):
    tx.update(params, tx.init(params))
  tx = sparsify(optax.sgd(0.1), 0.5, passive_weight_decay=0.1, select_by="update")
  with pytest.raises(ValueError, match="pass the params too"):
    tx.update(params, tx.init(params))


def test_sparsify_around_sgd_without_momentum_is_gsm_without_momentum():
  params, gradients = trees(0), trees(1)
  settings = {"momentum": None, "weight_decay": 0.0, "passive_weight_decay": 0.5}
  alone = gsm_optax.gsm(0.1, DENSITY, **settings)
  tx = sparsify(optax.sgd(0.1), DENSITY, passive_weight_decay=0.05)
  updates, _ = tx.update(gradients, tx.init(params), params)
  expected, _ = alone.update(gradients, alone.init(params), params)
  chex.assert_trees_all_close(updates, expected, rtol=1e-6)
