"""n of m."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gsm_optax


def groups_of(array, m, axis):
  """With the members of each group along the last axis."""
  moved = np.moveaxis(np.asarray(array), axis, -1)
  return moved.reshape(*moved.shape[:-1], -1, m)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 2), (2, 4), (3, 8), (5, 6)]))
def test_the_greatest_of_each_group_are_kept(seed, n_and_m):
  n, m = n_and_m
  rng = np.random.default_rng(seed)
  weights = np.round(rng.normal(size=(48, 2)), 1).astype(np.float32)  # with ties
  mask = gsm_optax.magnitude_mask(weights, structure=gsm_optax.n_of_m(n, m))
  kept, sizes = groups_of(mask, m, 0), np.abs(groups_of(weights, m, 0))
  first = np.argsort(-sizes, axis=-1, kind="stable")[..., :n]
  expected = np.zeros_like(kept)
  np.put_along_axis(expected, first, True, -1)
  np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_groups_are_along_the_axis(axis):
  weights = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 12)))
  mask = gsm_optax.magnitude_mask(weights, structure=gsm_optax.n_of_m(1, 4, axis))
  assert (groups_of(mask, 4, axis).sum(-1) == 1).all()


def test_training_keeps_what_ties():
  structure = gsm_optax.n_of_m(1, 2)
  tx = gsm_optax.keep_top_saliency(structure=structure)
  weights = jnp.ones((4, 2))
  gradients = jnp.array([[1.0, 2], [2, 2], [0, jnp.nan], [0, 1]])
  updates, state = jax.jit(tx.update)(gradients, tx.init(weights), weights)
  np.testing.assert_array_equal(updates, [[0, 2], [2, 2], [0, np.nan], [0, 1]])
  assert state.passes == 0


def test_a_run_ends_with_n_of_m_and_zeros_stay():
  rng = np.random.default_rng(1)
  params = jnp.asarray(rng.normal(size=(8, 6)), jnp.float32)
  tx = gsm_optax.sparsify(
    optax.adam(1e-2),
    structure=gsm_optax.n_of_m(2, 4),
    passive_weight_decay=0.1,
    prune_from=3,
  )
  state, update = tx.init(params), jax.jit(tx.update)
  for step in range(8):
    gradients = jnp.asarray(rng.normal(size=(8, 6)), jnp.float32)
    updates, state = update(gradients, state, params)
    params = optax.apply_updates(params, updates)
    kept = groups_of(params != 0, 4, 0).sum(-1)
    assert (kept == (2 if step >= 3 else 4)).all()
    if step == 3:
      zeros = params == 0
  assert ((params == 0) == zeros).all()


def test_what_is_zero_already_stays_so_after_the_cut():
  params = jnp.zeros((4, 1)).at[0, 0].set(1.0)
  tx = gsm_optax.gsm(0.1, structure=gsm_optax.n_of_m(2, 4), prune_from=0, prunable=True)
  updates, _ = tx.update(jnp.ones((4, 1)), tx.init(params), params)
  np.testing.assert_array_equal(updates[1:], 0)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((4, 4), "0 < n < m"),
    ((0, 4), "0 < n < m"),
    ((2.0, 4), "`n` must be a whole number"),
    ((2, 4, None), "`axis` must be a whole number"),
  ],
)
def test_bad_numbers_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    gsm_optax.n_of_m(*arguments)


def test_a_density_is_needed_by_all_others():
  with pytest.raises(ValueError, match="`density` must be given"):
    gsm_optax.keep_top_saliency()
  with pytest.raises(ValueError, match="`density` must be given"):
    gsm_optax.prune(jnp.ones((2, 2)), structure=gsm_optax.blocks((2, 1)))


def test_axes_that_do_not_divide_are_named():
  with pytest.raises(ValueError, match="leave it out with `prunable`"):
    gsm_optax.prune({"conv": jnp.ones((3, 3, 3, 8))}, structure=gsm_optax.n_of_m(2, 4))
