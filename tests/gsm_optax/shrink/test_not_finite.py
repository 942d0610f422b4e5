"""Infinities and NaN: windows and products of nothing, look-ups beyond the bounds."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import gsm_optax
from gsm_optax._shrink._compare import difference
from tests.gsm_optax.shrink.hidden_layer import (
  ONE,
  WVB,
  B,
  V,
  W,
  X,
  assert_same,
  hidden,
)

pytestmark = pytest.mark.usefixtures("x64")


def test_pooling_whose_windows_hold_nothing():
  def apply_fn(p, x):
    h = jnp.tanh(x @ p["w"] + p["b"])
    h = lax.reduce_window(h, -jnp.inf, lax.max, (3, 1), (1, 1), ((5, 0), (0, 0)))
    return jnp.maximum(h, -9) @ p["v"]

  assert_same(apply_fn, WVB, (X,), (ONE,))
  assert_same(apply_fn, {**WVB, "b": np.zeros(6)}, (X,), (ONE,))


def test_products_of_nothing():
  def apply_fn(p, x):
    factors = jnp.prod(p["none"], 1) + jnp.max(p["none"], 1, initial=-2.0)
    return (x @ p["w"] * factors) @ p["v"]

  assert_same(apply_fn, {**WVB, "none": np.zeros((6, 0))}, (X,))


@pytest.mark.parametrize("fill", [None, 0.0, 2.0])
def test_lookups_beyond_the_bounds(fill):
  def apply_fn(p, index):
    found = p["w"].at[index].get(mode="fill", fill_value=fill)
    return jnp.nan_to_num(found @ p["v"], nan=5.0)

  assert_same(apply_fn, {"w": W, "v": V}, (np.array([0, 3, 9]),), (np.array([7]),))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_zero_times_what_is_not_finite(number):
  params = {**WVB, "b": np.where((W == 0).all(0), 0, B), "v": V.copy()}
  params["v"][1, 0] = number
  small = gsm_optax.shrink(hidden(jnp.tanh), params, X)
  found, wanted = small.apply_fn(small.params, X), hidden(jnp.tanh)(params, X)
  np.testing.assert_allclose(found, wanted)
  assert np.isnan(wanted).any()


def test_differences_that_are_not_numbers_are_found():
  nan, inf = np.full(3, np.nan), np.array([np.inf, 1, 1])
  assert difference([nan, inf], [nan, inf]) == 0
  assert difference([nan], [np.ones(3)]) == np.inf
  assert difference([np.ones(3)], [nan]) == np.inf
  assert difference([inf], [inf[::-1]]) == np.inf
  assert difference([inf], [inf * [1, 1, 2]]) == 0.5
  assert difference([np.ones(2) * 1j], [np.ones(2)]) > 1
  assert difference([np.zeros(0)], [np.zeros(0)]) == 0


def weight_norm(eps):
  """A layer with weights of length one, and a layer behind it."""

  def apply_fn(p, x):
    lengths = jnp.sqrt((p["w"] ** 2).sum(0) + eps)
    return jnp.tanh(x @ (p["w"] / lengths)) @ p["v"]

  return apply_fn


def without_a_unit(params):
  keep = {name: np.ones(leaf.shape, bool) for name, leaf in params.items()}
  keep["w"][:, 4] = keep["v"][4] = False
  return keep


def test_a_norm_of_zeros():
  """Of weights that are zero, there is no direction."""
  params = {"w": W + 1, "v": V}
  keep = without_a_unit(params)
  with pytest.raises(ValueError, match=r"keep .* inf or NaN") as caught:
    gsm_optax.shrink(weight_norm(0.0), params, X, keep=keep)
  assert re.fullmatch(r"[^\n.]+ add a small eps [^\n.]+\.", str(caught.value))
  small = gsm_optax.shrink(weight_norm(1e-6), params, X, keep=keep)
  assert small.params["w"].shape == (4, 5)

  zeroed = {name: np.where(keep[name], leaf, 0) for name, leaf in params.items()}
  with pytest.raises(ValueError, match=r"^apply_fn returns inf or NaN") as caught:
    gsm_optax.shrink(weight_norm(0.0), zeroed, X)
  assert re.fullmatch(r"[^\n.]+ add a small eps [^\n.]+\.", str(caught.value))
  assert_same(weight_norm(1e-6), zeroed, (X,), (ONE,), w=(4, 5))
