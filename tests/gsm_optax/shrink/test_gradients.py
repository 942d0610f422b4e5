"""Derivatives of the smaller function are those of the larger one, also custom ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.gsm_optax.shrink.hidden_layer import WVB, B, W, X, assert_same, numbers

pytestmark = pytest.mark.usefixtures("x64")


@jax.custom_vjp
def scaled_square(h, scale):
  return scale * h**2


scaled_square.defvjp(
  lambda h, scale: (scaled_square(h, scale), (h, scale)),
  lambda saved, g: (7 * g * saved[1] * saved[0], (g * saved[0] ** 2).sum(0)),
)


@pytest.mark.parametrize(
  "function",
  [
    lambda h, _: jax.nn.relu(h),
    lambda h, _: jax.nn.gelu(h),
    lambda h, _: jax.nn.silu(h),
    lambda h, _: jnp.abs(h),
    lambda h, scale: scaled_square(h, scale),
    lambda h, scale: jax.checkpoint(scaled_square)(h, scale),
    lambda h, scale: lax.scan(lambda h, _: (jnp.sin(h * scale), None), h, None, 2)[0],
  ],
)
def test_gradients(function):
  def apply_fn(p, x):
    return function(x @ p["w"] + p["b"], p["scale"]) @ p["v"]

  params = {**WVB, "scale": B + 1}
  params["b"] = np.where((W == 0).all(0), [0, 0, 0.4, 0, 0, 0], B)
  # A unit that is exactly zero for some examples, where relu has its kink.
  params["w"] = W.copy()
  params["w"][:, 3] = [1, 0, 0, 0]
  params["b"][3] = 0
  x = X.copy()
  x[0, 0] = 0
  small = assert_same(apply_fn, params, (x,))
  assert len(small.params["v"]) <= 5

  def loss(apply):
    return lambda params: (apply(params, x) ** 2 * numbers(5, 3)).sum()

  found = jax.jit(jax.grad(loss(small.apply_fn)))(small.params)
  wanted = small.slice(jax.grad(loss(apply_fn))(params))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-9), found, wanted)
