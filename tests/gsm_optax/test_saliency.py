"""Other saliencies than the paper's, and their average over the steps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gsm_optax
from gsm_optax import gsm, keep_top_saliency

NAN, INF = np.nan, np.inf
GRADIENTS = jnp.array([[1.0, -5.0, 2.0], [3.0, 0.5, -4.0]])
WEIGHTS = jnp.array([[-6.0, 0.1, 1.0], [2.0, 5.0, -0.2]])


def kept(saliency, gradients=GRADIENTS, weights=WEIGHTS, density=1 / 3):
  """Where the gradient passes."""
  tx = keep_top_saliency(density, saliency=saliency)
  updates, _ = tx.update(gradients, tx.init(weights), weights)
  return np.flatnonzero(updates).tolist()


def test_by_default_gradient_times_weight_decides():
  assert kept(None) == [0, 3]
  assert kept(gsm_optax.first_order_taylor) == [0, 3]


def test_the_magnitude_of_the_weight_may_decide():
  assert kept(gsm_optax.magnitude) == [0, 4]


def test_the_magnitude_of_the_gradient_may_decide():
  assert kept(gsm_optax.gradient_magnitude) == [1, 5]


def test_any_function_may_decide():
  assert kept(lambda g, w: -g * w) == [0, 1]  # what the step takes further from zero


def test_negative_scores_and_negative_zeros_count_as_zero():
  assert kept(lambda g, w: jnp.where(w == 5.0, 1.0, -jnp.abs(g)), density=1 / 6) == [4]
  assert kept(lambda _, w: jnp.where(w == 5.0, 1.0, -0.0), density=1 / 6) == [4]


def test_scores_may_be_of_half_precision():
  assert kept(lambda _, w: jnp.abs(w).astype(jnp.bfloat16)) == [0, 4]


def test_the_saliency_is_exact_in_a_whole_model():
  rng = np.random.default_rng(0)
  params, gradients = (
    {str(i): jnp.asarray(rng.normal(size=(40, 30)), jnp.float32) for i in range(3)}
    for _ in range(2)
  )
  tx = keep_top_saliency(0.1, saliency=gsm_optax.magnitude)
  updates, _ = jax.jit(tx.update)(gradients, tx.init(params), params)
  mask = gsm_optax.magnitude_mask(params, 0.1)
  chex.assert_trees_all_equal(updates, gsm_optax.apply_mask(gradients, mask))


def test_a_function_sees_whole_leaves():
  rng = np.random.default_rng(0)
  gradients = jnp.asarray(rng.normal(size=(16, 24)), jnp.float32)
  weights = jnp.asarray(rng.normal(size=(16, 24)) * np.arange(1, 25), jnp.float32)

  def relative_to_its_column(gradient, weight):
    return jnp.abs(weight) / jnp.abs(weight).sum(0) + 0 * gradient

  scores = np.asarray(relative_to_its_column(gradients, weights))
  expected = np.flatnonzero(scores >= np.sort(scores.ravel())[-38])
  assert kept(relative_to_its_column, gradients, weights, 0.1) == expected.tolist()


@pytest.mark.parametrize(
  "saliency",
  [
    lambda g, _: jnp.sum(g),
    lambda g, _: g > 0,
    lambda g, _: g.astype(jnp.int32),
    lambda *_: None,
  ],
)
@pytest.mark.parametrize("smoothing", [None, 0.5])
def test_scores_of_another_shape_or_type_are_an_error(saliency, smoothing):
  tx = keep_top_saliency(0.5, saliency=saliency, smoothing=smoothing)
  with pytest.raises(ValueError, match="floating-point score for each weight of shape"):
    tx.update(GRADIENTS, tx.init(WEIGHTS), WEIGHTS)


# Smoothing


def test_without_smoothing_there_is_no_average():
  assert keep_top_saliency(0.5).init(WEIGHTS).average is None
  assert len(jax.tree.leaves(keep_top_saliency(0.5).init(WEIGHTS))) == 3


def test_with_smoothing_the_average_of_all_steps_decides():
  tx = keep_top_saliency(1 / 3, smoothing=0.75)
  state = tx.init(WEIGHTS)
  rng = np.random.default_rng(0)
  average = np.zeros((2, 3), np.float32)
  for _ in range(20):
    gradients = rng.normal(size=(2, 3)).astype(np.float32)
    updates, state = jax.jit(tx.update)(gradients, state, WEIGHTS)
    average = 0.75 * average + 0.25 * np.abs(gradients * np.asarray(WEIGHTS))
    np.testing.assert_allclose(state.average, average, rtol=1e-5)
    expected = average >= np.sort(average.ravel())[-2]
    np.testing.assert_array_equal(updates, np.where(expected, gradients, 0))


def test_a_smoothing_of_zero_is_none():
  plain, smoothed = gsm(0.1, 0.5), gsm(0.1, 0.5, smoothing=0.0)
  rng = np.random.default_rng(0)
  states = plain.init(WEIGHTS), smoothed.init(WEIGHTS)
  for _ in range(5):
    gradients = rng.normal(size=(2, 3)).astype(np.float32)
    updates, first = plain.update(gradients, states[0], WEIGHTS)
    same, second = smoothed.update(gradients, states[1], WEIGHTS)
    chex.assert_trees_all_equal(updates, same)
    states = first, second


@pytest.mark.parametrize("bad", [NAN, INF])
def test_what_is_not_finite_passes_and_does_not_stay(bad):
  tx = keep_top_saliency(1 / 3, smoothing=0.5)
  state = tx.init(WEIGHTS)
  _, before = tx.update(GRADIENTS, state, WEIGHTS)
  updates, after = tx.update(GRADIENTS.at[0, 2].set(bad), before, WEIGHTS)
  assert not np.isfinite(updates[0, 2])
  assert after.average[0, 2] == before.average[0, 2]
  assert np.isfinite(after.average).all()


def test_the_average_is_of_the_prunable_leaves_alone_and_float32():
  params = {"kernel": jnp.ones((2, 3), jnp.bfloat16), "bias": jnp.ones(3)}
  state = keep_top_saliency(0.5, smoothing=0.9).init(params)
  assert state.average["kernel"].dtype == jnp.float32
  assert state.average["bias"] == optax.MaskedNode()


def test_map_params_reaches_the_average():
  params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
  tx = gsm(0.1, 0.5, smoothing=0.9)
  state = optax.tree.map_params(tx, lambda leaf: leaf + 1, tx.init(params))
  np.testing.assert_array_equal(state[0].average["kernel"], params["kernel"])
  assert state[0].threshold == 0


def test_updates_of_any_container_keep_the_state_stable():
  nnx = pytest.importorskip("flax.nnx")
  model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
  tx = gsm(0.1, 0.5, smoothing=0.9)
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
  gradients = jax.tree.map(jnp.ones_like, nnx.state(model))
  for _ in range(2):
    optimizer.update(model, gradients)
  shapes = [leaf.shape for leaf in jax.tree.leaves(nnx.state(optimizer))]
  assert shapes.count((3, 2)) == 2  # the average, and the momentum


@pytest.mark.parametrize("smoothing", [-0.1, 1, 1.0, NAN])
def test_a_smoothing_outside_its_range_is_an_error(smoothing):
  with pytest.raises(ValueError, match=f"must be in .0, 1., but it is {smoothing}"):
    keep_top_saliency(0.5, smoothing=smoothing)


def test_inject_hyperparams_takes_the_default_and_a_named_saliency():
  plain = optax.inject_hyperparams(gsm)(learning_rate=0.1, density=0.5)
  named = optax.inject_hyperparams(gsm, static_args=("saliency",))(
    learning_rate=0.1, density=0.5, saliency=gsm_optax.first_order_taylor
  )
  for tx, expected in ((plain, gsm(0.1, 0.5)), (named, gsm(0.1, 0.5))):
    updates, _ = tx.update(GRADIENTS, tx.init(WEIGHTS), WEIGHTS)
    same, _ = expected.update(GRADIENTS, expected.init(WEIGHTS), WEIGHTS)
    chex.assert_trees_all_close(updates, same, rtol=1e-6)


@pytest.mark.parametrize(
  "saliency", [gsm_optax.magnitude, gsm_optax.gradient_magnitude]
)
def test_scores_that_are_subnormal_are_told_apart(saliency):
  values = jnp.array([[3e-39, 2e-39], [1e-39, 0.0]], jnp.float32)
  tx = keep_top_saliency(0.25, saliency=saliency)
  updates, state = jax.jit(tx.update)(values, tx.init(values), values)
  bits = np.asarray(values).view(np.int32)
  assert np.asarray(state.threshold).view(np.int32) == bits[0, 0]
  np.testing.assert_array_equal(
    np.asarray(updates).view(np.int32), [[bits[0, 0], 0], [0, 0]]
  )
