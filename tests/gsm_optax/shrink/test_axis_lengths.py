"""Axes of no position, of one that is repeated, and of lengths that decide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsm_optax
from tests.gsm_optax.shrink.hidden_layer import (
  ONE,
  WVB,
  B,
  V,
  W,
  X,
  assert_same,
  hidden,
  numbers,
)

pytestmark = pytest.mark.usefixtures("x64")


def test_shapes_that_decide():
  """Equations in another order, more of them, and other constants."""

  def apply_fn(p, x):
    h = jnp.tanh(x @ p["w"] + jnp.broadcast_to(p["b"][None], (len(x), 6)))
    if len(x) > 1:
      u, v = h @ p["u"], h @ p["v"]
    else:
      v = h @ p["v"]
      u = h @ p["u"]
    for _ in range(len(x)):
      h = jnp.tanh(h @ p["s"] + p["b"])
    return (h / len(x)) @ p["v"] + 2 * u - v

  params = {**WVB, "u": numbers(6, 3) + 1, "s": numbers(6, 6, zero_columns=[1, 2])}
  for batches in ([(X,), (ONE,), (X[:2],)], [(ONE,), (X,)]):
    assert_same(apply_fn, params, *batches, v=(4, 3), w=(4, 4))


def test_empty_batches_and_axes():
  for function in (jnp.tanh, jax.nn.relu, lambda h: jax.nn.gelu(h, approximate=False)):
    assert_same(hidden(function), WVB, (X[:0],), (X,), (ONE,))
    assert_same(hidden(function), WVB, (X,), (X[:0],))
  params = {"w": np.zeros((4, 0)), "b": np.zeros(0), "v": np.zeros((0, 3))}
  assert_same(hidden(jnp.tanh), params, (X,), (X[:0],))
  params = {"w": np.zeros((0, 6)), "b": B, "v": V}
  assert_same(hidden(jnp.tanh), params, (X[:, :0],), v=(1, 3))


def test_axes_of_one_position():
  params = {"w": W[:, 1:2], "b": B[1:2], "v": V[:1]}
  assert_same(hidden(jnp.tanh), params, (X,), (ONE,))
  params = {"w": W[:1], "b": B, "v": V[:, :1]}
  assert_same(hidden(jnp.tanh), params, (X[:, :1],), (ONE[:, :1],), v=(4, 1))


@pytest.mark.parametrize(
  "repeated",
  [
    lambda g: jnp.broadcast_to(g[:1], (6,)),
    lambda g: jnp.tile(g[:1], 6),
    lambda g: jnp.tile(g[:1], 3)[None, :, None] + jnp.zeros((1, 3, 2)),
    lambda g: g[:1],
    lambda g: jnp.unstack(g)[0],
    lambda g: jnp.stack([g, g])[:, 0][:1],
  ],
)
def test_what_one_position_is_repeated_at_is_not_zero_with_it(repeated):
  def apply_fn(p, x):
    return (jax.nn.sigmoid(x @ p["w"]) * repeated(p["g"]).reshape(-1)).sum(-1)

  params = {"w": W, "g": np.ones(2)}
  keep = {"w": np.ones((4, 6), bool), "g": np.zeros(2, bool)}
  keep["w"][:, :3] = False
  small = gsm_optax.shrink(apply_fn, params, X, keep=keep)
  assert small.params["w"].shape == (4, 6)
  params = {"w": W, "g": np.pad(small.params["g"], (0, 2 - len(small.params["g"])))}
  np.testing.assert_allclose(small.apply_fn(small.params, X), apply_fn(params, X))


def test_a_scalar_decides_nothing_that_other_scalars_would_not():
  def apply_fn(p, x):
    return jax.nn.relu(x @ p["w"] - p["t"]).sum(-1)

  assert_same(apply_fn, {"w": W, "t": np.asarray(0.5)}, (X,), (ONE,))
