"""What a smaller function tells of itself, and what can be done with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsm_optax


def normal(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def mlp(params, x):
  return jax.nn.relu(x @ params["a"] + params["bias"]) @ params["b"]


@pytest.fixture
def params():
  """Of eight hidden units one is zero, one constant, and one not used."""
  bias = normal(8, seed=1).at[:2].set(jnp.array([-1.0, 2.0]))
  return {
    "a": normal(5, 8).at[:, :2].set(0),
    "bias": bias,
    "b": normal(8, 3, seed=2).at[2].set(0),
  }


def test_units_and_constants_are_counted_once(params):
  small = gsm_optax.shrink(mlp, params, normal(2, 5))
  assert small.units == (5 + 8, 5 + 5)
  assert small.constants == 1
  assert small.weights == (5 * 8 + 8 + 8 * 3, 5 * 5 + 5 + 5 * 3)
  assert small.multiply_adds == (2 * (5 * 8 + 8 * 3), 2 * (5 * 5 + 5 * 3))


def test_pixels_are_no_units_of_their_own(params):
  def apply_fn(params, images):
    return mlp({**params, "a": params["a"][:4]}, images.reshape(-1, 4))

  small = gsm_optax.shrink(apply_fn, params, normal(2, 2, 2))
  assert small.units[0] <= 5 + 8


def test_a_constant_unit_in_two_products_is_one():
  params = {"a": normal(4, 3).at[:, 0].set(0), "b": normal(3), "c": normal(3, 2)}
  params["b"] = params["b"].at[0].set(1.0)

  def apply_fn(params, x):
    hidden = jax.nn.relu(x @ params["a"] + params["b"])
    return hidden @ params["c"], hidden @ (2 * params["c"])

  assert gsm_optax.shrink(apply_fn, params, normal(2, 4)).constants == 1


def test_it_prints_a_table(params):
  small = gsm_optax.shrink(mlp, params, normal(2, 5))
  text = str(small)
  assert repr(small) == text
  assert "a     5 × 8   5 × 5" in text
  assert "stays (an output): b[1]" in text
  assert "for small.apply_fn" in text  # the constant is missing otherwise


def test_it_says_when_nothing_is_removed():
  params = {"a": normal(4, 3), "b": normal(3, 2)}
  small = gsm_optax.shrink(lambda p, x: x @ p["a"] @ p["b"], params, normal(2, 4))
  assert "Nothing is removed: of the 7 units" in str(small)
  assert "times fewer" not in str(small)
  small = gsm_optax.shrink(lambda p, x: jnp.sort(x * p["a"]), params, normal(4, 3))
  assert "Nothing is removed: all axes have to stay" in str(small)


def test_one_path_may_be_the_end_of_another():
  params = {
    "w": normal(6, 6).at[:, :2].set(0),
    "z": {"w": normal(6, 6, seed=1).at[:, 3:].set(0), "y": normal(6, 3)},
  }

  def apply_fn(params, x):
    hidden = jax.nn.relu(x @ params["w"])
    return jax.nn.relu(hidden @ params["z"]["w"]) @ params["z"]["y"]

  small = gsm_optax.shrink(apply_fn, params, normal(2, 6))
  sliced = small.slice(params)
  assert jax.tree.all(jax.tree.map(np.array_equal, sliced, small.params))
  assert small.params["z"]["w"].shape == (4, 3)


def test_two_outputs_for_one_example():
  params = {"a": normal(5, 4).at[:, 0].set(0), "c": normal(4, 3), "b": normal(3)}

  def apply_fn(params, x):
    hidden = jax.nn.relu(x @ params["a"])
    return hidden @ params["c"] + params["b"], hidden.sum()

  assert gsm_optax.shrink(apply_fn, params, normal(5)).params["a"].shape == (5, 3)


def test_choices_may_differ_as_far_as_is_allowed(params):
  def chosen(params, x):
    return jnp.argmax(mlp(params, x).astype(jnp.bfloat16), -1)

  x = normal(512, 5, seed=3)
  small = gsm_optax.shrink(chosen, params, x, tolerance=0.1)
  differ = small.apply_fn(small.params, x) != chosen(params, x)
  assert differ.mean() <= 0.1


def test_a_tolerance_that_is_too_small_is_an_error(params):
  with pytest.raises(ValueError, match="more than rounding"):
    gsm_optax.shrink(mlp, params, normal(64, 5), tolerance=-1.0)


def test_zeros_do_not_tell_that_the_function_fits():
  params = {"a": normal(5, 4).at[:, 0].set(0), "b": normal(4, 3)}

  def normalised(params, x):
    hidden = x @ params["a"]
    size = jnp.sqrt((hidden**2).mean(-1, keepdims=True) + 1e-6)
    return hidden / size @ params["b"]

  for x, fits in ((jnp.zeros((2, 5)), False), (normal(2, 5), False)):
    assert gsm_optax.shrink(normalised, params, x).fits == fits
  small = gsm_optax.shrink(lambda p, x: x @ p["a"] @ p["b"], params, jnp.zeros((2, 5)))
  assert small.fits


def test_a_scalar_that_is_trained_goes_on_to_count():
  params = {"a": normal(5, 4).at[:, :2].set(0), "s": jnp.float32(0.5)}
  params["c"] = normal(4, 3)

  def apply_fn(params, x):
    return (jax.nn.relu(x @ params["a"] + params["s"]) @ params["c"]).sum()

  x = normal(7, 5)
  small = gsm_optax.shrink(apply_fn, params, x)
  wanted = jax.grad(apply_fn)(params, x)["s"]
  found = jax.grad(small.apply_fn)(small.params, x)["s"]
  np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("given", [True, "train"])
def test_other_arguments_than_arrays(params, given):
  with pytest.raises(ValueError, match=r"functools\.partial"):
    gsm_optax.shrink(lambda p, x, _: mlp(p, x), params, normal(2, 5), given)


def test_the_function_comes_first(params):
  with pytest.raises(
    ValueError, match="apply_fn, the first argument, must be a function"
  ):
    gsm_optax.shrink(params, mlp, normal(2, 5))
