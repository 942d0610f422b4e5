"""Blocks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsm_optax


def numbers(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def mask_by_hand(weights, tile, kept):
  """The mask of a matrix' blocks of greatest sums of magnitudes, by NumPy."""
  rows, columns = tile
  height, width = weights.shape
  cut = np.abs(weights).reshape(height // rows, rows, width // columns, columns)
  scores = cut.sum((1, 3))
  top = np.zeros(scores.size, bool)
  top[np.argsort(-scores.ravel(), kind="stable")[:kept]] = True
  return np.kron(top.reshape(scores.shape), np.ones(tile, bool))


@pytest.mark.parametrize("tile", [(4, 1), (1, 4), (2, 3), (8, 6)])
def test_the_greatest_blocks_are_kept(tile):
  weights = numbers(8, 12)
  blocks = 96 // (tile[0] * tile[1])
  mask = gsm_optax.magnitude_mask(weights, 0.5, structure=gsm_optax.blocks(tile))
  np.testing.assert_array_equal(
    mask, mask_by_hand(np.asarray(weights), tile, blocks // 2)
  )


def test_blocks_of_all_leaves_compete():
  params = {"a": 10 * numbers(4, 4), "b": numbers(8, 4), "bias": jnp.ones(4)}
  mask = gsm_optax.magnitude_mask(params, 1 / 3, structure=gsm_optax.blocks((4, 1)))
  assert mask["a"].all()
  assert not mask["b"].any()
  assert mask["bias"].all()


def test_a_tile_is_that_of_the_last_axes():
  kernel = numbers(3, 3, 8, 6)
  pruned = gsm_optax.apply_mask(
    kernel, gsm_optax.magnitude_mask(kernel, 0.5, structure=gsm_optax.blocks((4, 2)))
  )
  tiles = (np.asarray(pruned) != 0).reshape(3, 3, 2, 4, 3, 2)
  assert (tiles.all((3, 5)) | ~tiles.any((3, 5))).all()
  assert tiles.any((3, 5)).sum() == 3 * 3 * 2 * 3 // 2
  vector = gsm_optax.magnitude_mask(
    jnp.array([1.0, 1, 3, 0]), 0.5, prunable=True, structure=gsm_optax.blocks(2)
  )
  np.testing.assert_array_equal(vector, [False, False, True, True])


def test_of_equal_blocks_the_first_are_kept_and_all_are_active():
  structure, ones = gsm_optax.blocks((2, 1)), jnp.ones((4, 4))
  mask = gsm_optax.magnitude_mask(ones, 0.25, structure=structure)
  np.testing.assert_array_equal(mask[:2], [[True, True, False, False]] * 2)
  assert not mask[2:].any()
  tx = gsm_optax.keep_top_saliency(0.25, structure=structure)
  updates, state = tx.update(ones, tx.init(ones), ones)
  chex.assert_trees_all_equal(updates, ones)
  assert state.threshold == 2


def test_a_block_is_active_or_passive_as_a_whole():
  weights, gradients = numbers(8, 12), numbers(8, 12, seed=1)
  structure = gsm_optax.blocks((4, 1))
  tx = gsm_optax.keep_top_saliency(0.25, structure=structure)
  updates, state = jax.jit(tx.update)(gradients, tx.init(weights), weights)
  saliencies = np.abs(np.asarray(gradients) * np.asarray(weights))
  expected = mask_by_hand(saliencies, (4, 1), 6)
  np.testing.assert_array_equal(updates, np.where(expected, gradients, 0))
  sums = saliencies.reshape(2, 4, 12).sum(1)
  assert float(state.threshold) == pytest.approx(np.sort(sums.ravel())[-6], rel=1e-6)


def test_mean_and_sum_choose_the_same():
  weights = numbers(8, 12)
  masks = [
    gsm_optax.magnitude_mask(
      weights, 0.3, structure=gsm_optax.blocks((2, 2), score=score)
    )
    for score in ("sum", "mean")
  ]
  chex.assert_trees_all_equal(*masks)


def test_a_nan_gradient_passes_with_its_block():
  weights, gradients = jnp.ones((4, 2)), jnp.array([[1.0, 5]] * 4).at[0, 0].set(jnp.nan)
  tx = gsm_optax.keep_top_saliency(0.5, structure=gsm_optax.blocks((2, 1)))
  updates, _ = tx.update(gradients, tx.init(weights), weights)
  np.testing.assert_array_equal(updates, [[np.nan, 5], [1, 5], [0, 5], [0, 5]])


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: gsm_optax.blocks(()), "positive whole numbers"),
    (lambda: gsm_optax.blocks((2, 0)), "positive whole numbers"),
    (lambda: gsm_optax.blocks((2, 1.5)), "positive whole numbers"),  # type: ignore
    (lambda: gsm_optax.blocks((2, True)), "positive whole numbers"),
    (lambda: gsm_optax.blocks((2, 1), score="max"), "'sum' or 'mean'"),  # type: ignore
  ],
)
def test_bad_blocks_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_what_cannot_be_cut_is_named():
  params = {"a": jnp.ones((8, 4)), "b": jnp.ones((6, 4))}
  tx = gsm_optax.gsm(0.1, structure=gsm_optax.blocks((4, 1)))
  with pytest.raises(ValueError, match=r"axis -2 of 'b', of shape \(6, 4\)"):
    tx.init(params)
  tx = gsm_optax.gsm(
    0.1, 0.5, structure=gsm_optax.blocks((4, 1)), prunable={"a": True, "b": False}
  )
  tx.init(params)
  with pytest.raises(ValueError, match="which '' of shape"):
    gsm_optax.prune(jnp.ones(8), 0.5, structure=gsm_optax.blocks((4, 1)), prunable=True)
