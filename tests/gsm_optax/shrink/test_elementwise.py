"""Functions of each element by itself, of units that are zero or constant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.gsm_optax.shrink.hidden_layer import ONE, WVB, B, W, X, assert_same, hidden

pytestmark = pytest.mark.usefixtures("x64")

ELEMENTWISE = {
  "relu": (jax.nn.relu, (4, 3)),
  "tanh": (jnp.tanh, (4, 3)),
  "to integers and back": (lambda h: (h * 10).astype(int) / 3, (4, 3)),
  "divided integers": (
    lambda h: lax.div((h * 10).astype(int), jnp.full(h.shape, 4)) / 3,
    (4, 3),
  ),
  "integers that overflow": (
    lambda h: ((jnp.tanh(h) + 1) * 100).astype(jnp.uint8) + jnp.uint8(100),
    None,
  ),
  "a negative number as unsigned": (
    lambda h: (-(jnp.abs(h) * 9).astype(jnp.uint8)) / 7,
    None,
  ),
  "rounded": (lambda h: lax.reduce_precision(h, 5, 3), None),
  "rounded to float16": (lambda h: h.astype(jnp.float16).astype(float), (4, 3)),
  "overflow of float32": (
    lambda h: 1 / jnp.exp(200 * jnp.abs(h).astype(jnp.float32)).astype(float),
    None,
  ),
  "lgamma": (lambda h: lax.lgamma(1.5 + h), None),
  "atan2 of zeros": (lambda h: jnp.arctan2(0 * h, -0.0 * (h + 9)), None),
  "a division by zero that is not taken": (
    lambda h: jnp.where(h == 0, 0, h / jnp.where(h == 0, 1, h)),
    None,
  ),
  "infinities that are not taken": (
    lambda h: jnp.where(h > 5, jnp.log(h - h), jnp.exp(h)),
    None,
  ),
  "not a number made one": (lambda h: jnp.nan_to_num(h / 0, nan=3.0, posinf=1.0), None),
  "complex": (lambda h: jnp.abs(h.astype(complex) * 1j + h), None),
  "fft": (lambda h: jnp.fft.fft(h).real, (6, 3)),
  "compared with positions": (
    lambda h: jnp.where(jnp.arange(6) == 2, 1.0, h),
    (4, 3),
  ),
  "scattered": (lambda h: jnp.zeros(h.shape).at[:, ::-1].add(h), None),
  "running maximum": (lambda h: lax.cummax(h, 1), (6, 3)),
  "running product over the batch": (lambda h: lax.cumprod(h, 0), None),
  "sorted with a key": (lambda h: lax.sort((jnp.sin(9 * h), h), dimension=0)[1], None),
  "largest of each": (lambda h: lax.top_k(h.T, 1)[0].T * jnp.ones(h.shape), None),
  "along": (
    lambda h: jnp.take_along_axis(h, jnp.argsort(h, axis=0), 0),
    None,
  ),
  "a column for all": (lambda h: h * h[:, 1:2] + h[:, 2:3], None),
  "the diagonal": (lambda h: h + jnp.diag(h[:, :4][:4, :4]).sum(), None),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("bias", ["constants", "negative zeros"])
def test_functions_of_hidden_units(name, bias):
  function, shape = ELEMENTWISE[name]
  params = dict(WVB)
  if bias != "constants":
    params["b"] = np.where((W == 0).all(0), -0.0, B)
  shapes = {"v": shape} if shape and bias == "constants" else {}
  batches = [(X,)]
  if name != "the diagonal":
    batches.append((ONE,))
  assert_same(hidden(function), params, *batches, **shapes)
