"""Densities, types, and what is not a number."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_params import PARAMS, passed, random_tree, trajectory

from gsm_optax import gsm, keep_top_saliency

NAN, INF = np.nan, np.inf


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
