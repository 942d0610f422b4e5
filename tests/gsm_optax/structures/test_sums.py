"""Sums over units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsm_optax._structures._sums import Part, sums


def of_columns(scores):
  """Each column is a unit."""
  return Part(
    jnp.asarray(scores, jnp.float32),
    lambda array, by: by(array, axis=0),
    lambda units: units[None],
    len(scores),
  )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 7, 60, 257]), st.floats(0, 12))
def test_they_are_sums_whatever_the_order(seed, rows, decades):
  rng = np.random.default_rng(seed)
  scores = (10.0 ** rng.uniform(-decades, 0, (rows, 3))).astype(np.float32)
  found = np.asarray(sums([of_columns(scores)]))
  np.testing.assert_allclose(found, scores.astype(np.float64).sum(0), rtol=1e-6)
  shuffled = rng.permutation(scores)
  np.testing.assert_array_equal(sums([of_columns(shuffled)]), found)
  half = rows // 2
  parts = [of_columns(part) for part in (shuffled[:half], shuffled[half:]) if len(part)]
  np.testing.assert_array_equal(sums(parts), found)


def test_jit_changes_no_bit():
  scores = np.random.default_rng(0).exponential(size=(1000, 7)).astype(np.float32)
  eagerly = sums([of_columns(scores)])
  jitted = jax.jit(lambda scores: sums([of_columns(scores)]))(scores)
  np.testing.assert_array_equal(jitted, eagerly)


@pytest.mark.parametrize("scale", [1e-25, 1e-10, 1.0, 1e30])
def test_the_scale_of_the_scores_does_not_matter(scale):
  scores = np.random.default_rng(1).exponential(size=(50, 4)).astype(np.float32)
  found = sums([of_columns(scores * np.float32(scale))])
  expected = (scores * np.float32(scale)).astype(np.float64).sum(0)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_zeros_infinities_and_nan():
  columns = [[0, 0], [1, np.inf], [np.nan, 1], [np.inf, np.nan], [-np.nan, 0], [0, 3]]
  found = np.asarray(sums([of_columns(np.array(columns).T)]))
  np.testing.assert_array_equal(found, [0, np.inf, np.nan, np.nan, np.nan, 3])


def test_what_is_far_below_the_greatest_is_rounded_off():
  found = sums([of_columns(np.array([[1.0], [1e-30]]))])
  np.testing.assert_array_equal(found, [1.0])
