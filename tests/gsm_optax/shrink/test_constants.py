"""Constant units: what they add in products, at borders of images and in loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

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
IMAGES = ("NHWC", "HWIO", "NHWC")


def cut(h, v):
  return h.reshape(-1, 2, 3), v.reshape(2, 3, 3)


SECOND = {
  "a matrix": jnp.matmul,
  "swapped": lambda h, v: jnp.swapaxes(v.T @ h.T, 0, 1),
  "two axes": lambda h, v: jnp.einsum("bij,ijk->bk", *cut(h, v)),
  "batches": lambda h, v: jnp.einsum("bij,ijk->bik", *cut(h, v)),
  "twice": lambda h, v: jnp.tanh(h @ v) @ v.T,
  "both": lambda h, v: h @ v + (h * h) @ v,
  "broadcast before": lambda h, v: jnp.broadcast_to(h[:, None], (len(h), 2, 6)) @ v,
  "over the batch": lambda h, v: (h.T @ h) @ v + h.mean(0) @ v,
  "the mean": lambda h, v: h.mean(-1, keepdims=True) * v[0],
  "the maximum": lambda h, v: h.max(-1, keepdims=True) * v[0] + h @ v,
}


@pytest.mark.parametrize("name", SECOND)
def test_constants_in_products(name):
  small = assert_same(hidden(jnp.tanh, SECOND[name]), WVB, (X,), (ONE,), (X[:2],))
  if name in ("a matrix", "swapped", "both", "broadcast before"):
    assert small.params["v"].shape == (4, 3)


def test_constants_in_two_rounds_and_an_axis_of_which_one_unit_must_stay():
  w = numbers(4, 3, zero_columns=[0])
  v = numbers(3, 2, zero_columns=[0])
  v[1:, 1] = 0  # the second unit is constant as soon as the first layer's is known
  params = {"w": w, "b": numbers(3), "v": v, "c": numbers(2), "u": numbers(2, 2)}

  def apply_fn(p, x):
    h = jnp.tanh(x @ p["w"] + p["b"])
    return jnp.tanh(h @ p["v"] + p["c"]) @ p["u"]

  small = assert_same(apply_fn, params, (X,), (ONE,))
  assert small.params["u"].shape == (1, 2)


def test_all_units_are_dead():
  params = {"w": np.zeros((4, 6)), "b": np.zeros(6), "v": V}
  assert_same(hidden(jax.nn.relu), params, (X,), (ONE,), w=(1, 1), v=(1, 3))
  assert_same(hidden(jnp.cos), params, (X,), (ONE,), w=(1, 1), v=(1, 3))
  assert_same(hidden(jnp.cos), {**WVB, "v": 0 * V}, (X,), (ONE,), v=(1, 3))


def image(p, h, kernel, bias, **options):
  options = {"window_strides": (1, 1), "padding": "SAME", **options}
  h = lax.conv_general_dilated(h, p[kernel], dimension_numbers=IMAGES, **options)
  return jnp.tanh(h + p[bias])


CONVOLUTIONS = {
  "same": {},
  "strides": {"window_strides": (2, 2)},
  "valid": {"padding": "VALID"},
  "dilated": {"rhs_dilation": (2, 2)},
  "transposed": {"lhs_dilation": (2, 2), "padding": ((1, 2), (2, 1))},
  "groups": {"feature_group_count": 2},
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_constant_channels_at_borders(name):
  groups = CONVOLUTIONS[name].get("feature_group_count", 1)
  params = {
    "k": numbers(3, 3, 2, 4, zero_columns=[1, 2]),
    "b": np.array([0.1, 0.8, -0.6, 0.2]),
    "l": numbers(3, 3, 4 // groups, 4),
    "c": numbers(4),
    "m": numbers(2, 2, 4, 2),
    "d": numbers(2),
  }
  if groups == 1:  # of constants alone: another constant, except at the borders
    params["l"][:, :, [0, 3], 1] = 0

  def apply_fn(p, x):
    h = image(p, x, "k", "b")
    h = image(p, h, "l", "c", **CONVOLUTIONS[name])
    return image(p, h, "m", "d")

  batches = [(numbers(*shape, 2),) for shape in ((2, 5, 5), (1, 5, 5), (1, 7, 6))]
  small = assert_same(apply_fn, params, *batches)
  if groups == 1:
    assert small.params["l"].shape[2] == 2


def test_units_that_stay_later_on():
  """The channels are fixed behind the product in which pixels are left out."""
  params = {
    "k": numbers(3, 3, 2, 3, zero_columns=[0, 1]),
    "b": numbers(3),
    "v": numbers(48, 2, zero_rows=range(0, 48, 5)),
  }

  def apply_fn(p, x):
    h = image(p, x, "k", "b")
    return h.reshape(len(h), -1) @ p["v"] + jax.nn.sigmoid(h).sum((1, 2, 3))[:, None]

  small = assert_same(apply_fn, params, (numbers(2, 4, 4, 2),), (numbers(1, 4, 4, 2),))
  assert small.constants


def test_inside_loops_and_branches():
  params = {**WVB, "s": numbers(3, 6, 6, zero_columns=[1, 2]), "u": numbers(6, 3)}
  params["c"] = np.stack([B, B, B])

  def apply_fn(p, x):
    h = jnp.tanh(x @ p["w"] + p["b"])

    def layer(h, s):
      return jnp.tanh(h @ s[0] + s[1]), h @ p["v"]

    g, outs = lax.scan(layer, h, (p["s"], p["c"]))
    outs = outs.sum(0) + g @ p["u"]
    return lax.cond(
      x[0, 0] > 0, lambda h: h @ p["u"], lambda h: jax.nn.relu(h - 0.5) @ p["v"], h
    ) + lax.switch(
      jnp.int32(x[0, 1] > 0), [lambda h, _: h @ p["u"], lambda *both: both[1]], h, outs
    )

  batches = [(x,) for x in (X, -X, ONE, -ONE, X * [1, -1, 1, 1], X * [-1, 1, 1, 1])]
  assert_same(apply_fn, params, *batches)
  params = {**params, "b": np.where((W == 0).all(0), 0, B), "c": 0 * params["c"]}
  assert_same(apply_fn, params, *batches, w=(4, 4), u=(4, 3), s=(3, 4, 4))
