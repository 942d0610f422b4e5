"""Trees of params, of inputs and of outputs, in which arrays come more than once."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from tests.gsm_optax.shrink.hidden_layer import ONE, WVB, X, assert_same, numbers

pytestmark = pytest.mark.usefixtures("x64")


class Pair(NamedTuple):
  first: Any
  second: Any


def test_trees_scalars_and_outputs_of_all_kinds():
  params = Pair([WVB, {"scale": np.asarray(0.7)}], (numbers(6, 2), [numbers(3)]))

  def apply_fn(params, inputs, factor):
    (layer, scale), (more, (_,)) = params
    h = jnp.tanh(inputs["x"] @ layer["w"] + layer["b"])
    dead = (h @ more) ** 2
    del dead
    unused = jnp.zeros((2, 0))
    return {
      "two": Pair(h @ layer["v"] * scale["scale"], (h * factor) @ more),
      "fixed": [jnp.ones(3), 2.0, inputs["x"], unused, layer["v"].sum()],
      "integers": jnp.argmax(h @ layer["v"], -1),
      "none": None,
    }

  for factor in (2.0, 3, np.float64(2)):
    assert_same(apply_fn, params, ({"x": X}, factor), ({"x": ONE}, factor))


def test_a_unit_in_two_outputs_and_one_that_is_an_output():
  def apply_fn(p, x):
    h = jnp.tanh(x @ p["w"] + p["b"])
    return h @ p["v"], [h[:, 2:4] * 2], (h[:, :2] @ p["v"][:2])

  assert_same(apply_fn, WVB, (X,), (ONE,))


def test_one_parameter_on_several_axes():
  w = numbers(4, 4, zero_columns=[1, 2], zero_rows=[1])
  for apply_fn in (
    lambda p, x: jnp.tanh(x @ p["w"] @ p["w"].T) @ p["w"],
    lambda p, x: jnp.tanh(x @ p["w"]) @ p["w"],
    lambda p, x: jnp.tanh(x @ (p["w"] @ p["w"].T)),
    lambda p, x: jnp.tanh(x @ (p["w"] + p["w"].T)) @ p["w"],
    lambda p, x: jnp.tanh(x @ jnp.einsum("ii->i", p["w"]))[:, None] * p["w"][0],
    lambda p, x: jnp.tanh(x @ p["w"].reshape(2, 8)[:, ::2].reshape(4, 2)) @ p["w"][:2],
  ):
    assert_same(apply_fn, {"w": w}, (X,), (ONE,))
