"""Exactly Q weights stay, and what is pruned stays zero."""

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gsm_optax import apply_mask, freeze_pruned, gsm, magnitude_mask, prune

few = settings(
  deadline=None,
  derandomize=True,
  max_examples=40,
  # `x64` is the same for every example.
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# Each is compiled once, so they are few.
TREES = (
  [((3, 4), np.float32), ((0, 2), np.float32), ((2, 2, 2, 2), np.float32)],
  [((2, 3), np.float16), ((), np.float16), ((5,), ml_dtypes.bfloat16)],
  [((2, 3), np.float64), ((4,), np.float32), ((1, 2), np.float16)],
)
WEIGHT = st.floats() | st.sampled_from(
  [0.0, -0.0, 1.0, -1.0, 2.0, np.inf, np.nan, 5e-324, 1e-40, 2e-40, 2.0**-24]
)


@st.composite
def weight_trees(draw):
  def leaf(shape, dtype):
    size = int(np.prod(shape))
    values = draw(st.lists(WEIGHT, min_size=size, max_size=size))
    with np.errstate(over="ignore"):
      return np.array(values).astype(dtype).reshape(shape)

  return [leaf(shape, dtype) for shape, dtype in draw(st.sampled_from(TREES))]


def greatest_by_sorting(leaves, q):
  """The positions of the q greatest magnitudes, the first of those that are equal."""
  weights = np.concatenate([leaf.astype(np.float64).ravel() for leaf in leaves])
  magnitudes = np.where(np.isnan(weights), np.inf, np.abs(weights))
  mask = np.zeros(weights.size, bool)
  mask[np.argsort(-magnitudes, kind="stable")[:q]] = True
  return mask


def flat(mask):
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(mask)])


magnitude_mask_in_jit = jax.jit(magnitude_mask, static_argnames="prunable")


@pytest.mark.parametrize("run", [magnitude_mask, magnitude_mask_in_jit])
@pytest.mark.usefixtures("x64")
@given(leaves=weight_trees(), data=st.data())
@few
def test_the_mask_is_that_of_a_stable_sort_in_eager_as_in_jit(run, leaves, data):
  n = sum(leaf.size for leaf in leaves)
  q = data.draw(st.integers(1, n), label="q")
  mask = run(leaves, q / n, prunable=True)
  np.testing.assert_array_equal(flat(mask), greatest_by_sorting(leaves, q))
  chex.assert_trees_all_equal_shapes(mask, leaves)


@pytest.mark.parametrize("shape", [(4000,), (40, 100), (10, 20, 20), (5, 10, 8, 10)])
@pytest.mark.parametrize("q", [1, 399, 2000, 3999])
def test_of_many_ties_the_first_in_row_major_order_stay(shape, q):
  weights = np.random.default_rng(0).integers(-3, 4, shape).astype(np.float32)
  mask = magnitude_mask(weights, q / 4000, prunable=True)
  np.testing.assert_array_equal(flat(mask), greatest_by_sorting([weights], q))


def test_ties_are_broken_by_the_order_of_leaves_then_rows():
  params = {"b": jnp.ones((2, 3)), "a": jnp.ones((1, 2)), "c": jnp.full((1, 2), 2.0)}
  mask = magnitude_mask(params, 0.7, prunable=True)
  assert mask["a"].tolist() == [[True, True]]
  assert mask["b"].tolist() == [[True, True, True], [False, False, False]]
  assert mask["c"].tolist() == [[True, True]]


@pytest.mark.parametrize("q", [1, 7, 8, 60, 127, 128, 129, 143])
def test_equal_weights_of_leaves_of_all_ranks_stay_in_order(q):
  shapes = [(), (0, 3), (7,), (1, 1, 4, 1, 5), (), (10, 10), (2, 1, 7)]
  leaves = [np.ones(shape, np.float32) for shape in shapes]
  assert sum(leaf.size for leaf in leaves) == 143
  mask = magnitude_mask_in_jit(leaves, q / 143, prunable=True)
  assert flat(mask).tolist() == [True] * q + [False] * (143 - q)


def test_equal_weights_that_are_all_scalars_stay_in_order():
  mask = magnitude_mask([jnp.ones(()) for _ in range(5)], 0.6, prunable=True)
  assert flat(mask).tolist() == [True, True, True, False, False]


def test_what_is_not_prunable_stays_and_takes_no_place():
  kernel = jnp.array([[1.0, 2.0], [0.0, 3.0]])
  params = {"kernel": kernel, "bias": jnp.array([9.0]), "scale": 3.0}
  mask = magnitude_mask(params, 0.5)
  chex.assert_trees_all_equal(
    mask, {"kernel": kernel > 1, "bias": np.array([True]), "scale": True}
  )
  assert mask["bias"].dtype == np.bool_


def test_nan_counts_as_infinite():
  mask = magnitude_mask(jnp.array([[3.0, -np.inf], [np.nan, 4.0]]), 0.5)
  assert mask.tolist() == [[False, True], [True, False]]
  mask = magnitude_mask(jnp.array([[np.nan, -np.inf], [3.0, 4.0]]), 0.25)
  assert mask.tolist() == [[True, False], [False, False]]


def test_a_complex_weight_counts_by_its_magnitude():
  mask = magnitude_mask(jnp.array([[3 + 4j, -4.5], [4j, 0.0]]), 0.5)
  assert mask.tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize("density", [0.5, 0.75, 1.0])
def test_where_fewer_weights_are_left_than_places_all_of_them_stay(density):
  params = jnp.array([[0.0, 1e-40], [0.0, -2.0]])
  chex.assert_trees_all_equal(prune(params, density), params)
  assert magnitude_mask(params, density).sum() == 4 * density


random_weights = pytest.mark.filterwarnings("ignore:What is zeroed has not vanished")
"""They have not vanished, of which `prune` warns."""


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e18, 1e37])
def test_prune_warns_of_weights_of_any_size(scale):
  params = scale * jnp.arange(1.0, 9.0).reshape(2, 4)
  with pytest.warns(UserWarning, match=r"it holds 14\.7% of the squared norm"):
    prune(params, 0.5)


@random_weights
def test_a_traced_density_prunes_as_the_number_does():
  params = jnp.asarray(np.random.default_rng(0).normal(size=(10, 10)))
  prune_in_jit = jax.jit(prune)
  for density in (0.01, 0.1, 0.29, 0.57, 1.0):
    expected = prune(params, density)
    assert (expected != 0).sum() == round(density * 100)
    chex.assert_trees_all_equal(prune_in_jit(params, jnp.float32(density)), expected)


def test_prune_is_the_mask_applied():
  params = {"kernel": jnp.array([[1e-2, -3.0], [2.0, 0.1]]), "bias": jnp.array([0.5])}
  pruned = prune(params, 0.5)
  chex.assert_trees_all_equal(pruned, apply_mask(params, magnitude_mask(params, 0.5)))
  assert pruned["kernel"].tolist() == [[0, -3], [2, 0]]
  assert pruned["bias"].tolist() == [0.5]


@random_weights
def test_pruning_twice_is_pruning_once():
  params = jnp.asarray(np.random.default_rng(0).normal(size=(10, 10)))
  once = prune(params, 0.3)
  chex.assert_trees_all_equal(prune(once, 0.3), once)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_apply_mask_broadcasts_and_keeps_the_type(dtype):
  params = {"kernel": jnp.array([[1.0, np.nan], [np.inf, 2.0]], dtype), "bias": 1.0}
  masked = apply_mask(params, {"kernel": jnp.array([True, False]), "bias": True})
  assert masked["kernel"].dtype == dtype
  assert masked["kernel"].tolist() == [[1, 0], [np.inf, 0]]
  assert masked["bias"] == 1.0


@pytest.mark.parametrize(
  "optimizer",
  [
    optax.sgd(0.1, momentum=0.9, nesterov=True),
    optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9)),
    optax.adamw(0.1),
    gsm(0.1, 0.5),
  ],
)
def test_what_is_frozen_stays_exactly_zero(optimizer):
  rng = np.random.default_rng(0)
  dense = {"kernel": jnp.asarray(rng.normal(size=(4, 5))), "bias": jnp.ones(5)}
  mask = magnitude_mask(dense, 0.4)
  params = apply_mask(dense, mask)
  tx = optax.chain(optimizer, freeze_pruned(mask))
  # The momentum of a training before pruning would move every weight.
  gradients = {"kernel": jnp.asarray(rng.normal(size=(4, 5))), "bias": jnp.ones(5)}
  _, state = tx.update(gradients, tx.init(dense), dense)

  @jax.jit
  def step(params, state):
    updates, state = tx.update(gradients, state, params)
    return optax.apply_updates(params, updates), state

  start = params
  for _ in range(10):
    params, state = step(params, state)
    assert ((params["kernel"] != 0) <= mask["kernel"]).all()
  assert (params["bias"] != start["bias"]).all()
  assert (params["kernel"] != start["kernel"])[mask["kernel"]].any()


def test_not_a_number_does_not_pass_where_it_is_frozen():
  tx = freeze_pruned(jnp.array([True, False]))
  updates, _ = tx.update(jnp.array([np.nan, np.nan]), tx.init(jnp.ones(2)))
  np.testing.assert_array_equal(updates, [np.nan, 0])
