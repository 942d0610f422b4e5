"""What cannot be shrunk is refused in one sentence."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

import gsm_optax

X = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)


def two_layers(params, x):
  h = jax.nn.relu(x @ params["w"] + params["b"])
  return h @ params["v"]


@pytest.fixture
def params():
  rng = np.random.default_rng(0)
  w, v = rng.normal(size=(4, 6)), rng.normal(size=(6, 3))
  w[:, 2] = 0
  result = {"w": w, "b": np.zeros(6), "v": v}
  return jax.tree.map(lambda leaf: leaf.astype(np.float32), result)


def refuses(match, apply_fn, params, *inputs, keep=None):
  """One sentence, with no line break and with a full stop."""
  with pytest.raises(ValueError, match=match) as caught:
    gsm_optax.shrink(apply_fn, params, *inputs, keep=keep)
  message = str(caught.value)
  assert re.fullmatch(r"[^\n]+\.", message), message
  assert len(message) < 300


@pytest.mark.parametrize("new", [True, False])
def test_dropout_in_training_mode(params, new):
  key = jax.random.key(0) if new else jax.random.PRNGKey(0)

  def apply_fn(params, x):
    h = two_layers(params, x)
    return h * jax.random.bernoulli(key, 0.5, h.shape)

  refuses("random numbers .* inference mode", apply_fn, params, X)


def test_dropout_inside_a_scan(params):
  def apply_fn(params, x):
    def body(key, _):
      key, own = jax.random.split(key)
      return key, two_layers(params, x) * jax.random.uniform(own)

    return jax.lax.scan(body, jax.random.key(0), None, length=2)[1]

  refuses("random numbers", apply_fn, params, X)


@pytest.mark.parametrize("new", [True, False])
def test_a_random_key_as_an_input(params, new):
  key = jax.random.key(0) if new else jax.random.PRNGKey(0)

  def apply_fn(params, x, key):
    return two_layers(params, x) + jax.random.normal(key, (3,))

  refuses("random", apply_fn, params, X, key)


def test_side_effects(params):
  def calling(params, x):
    out = two_layers(params, x)
    return io_callback(lambda x: x, jax.ShapeDtypeStruct((5, 3), np.float32), out)

  def printing(params, x):
    jax.debug.print("{}", x)
    return two_layers(params, x)

  refuses("side effects", calling, params, X)
  refuses("side effects", printing, params, X)


def test_updated_batch_statistics(params):
  params["mean"] = np.zeros(6, np.float32)

  def apply_fn(params, x):
    h = x @ params["w"]
    mean = 0.9 * params["mean"] + 0.1 * h.mean(0)
    return (h - mean) @ params["v"], {"mean": mean}

  refuses("Output 1/mean .* is an update of mean", apply_fn, params, X)


def test_params_that_are_returned(params):
  refuses("w of params is an output", lambda p, x: (x @ p["w"], p["w"]), params, X)


def test_one_example_without_a_batch_is_no_update(params):
  def apply_fn(params, x):
    return x @ params["w"] + params["b"]

  small = gsm_optax.shrink(apply_fn, params, X[0])
  np.testing.assert_allclose(
    small.apply_fn(small.params, X[1]), apply_fn(params, X[1]), rtol=1e-5, atol=1e-6
  )


def test_params_that_are_not_used(params):
  refuses("does not use its params", lambda _, x: x * 2, params, X)
  refuses("does not use its params", lambda p, x: [p["w"] * 2, x][1], params, X)


def test_integer_params(params):
  params["count"] = np.zeros(3, np.int32)
  refuses("count of params has the dtype int32", two_layers, params, X)


def test_boolean_params(params):
  params["mask"] = np.zeros(3, bool)
  refuses("mask of params has the dtype bool", two_layers, params, X)


def test_a_random_key_among_the_params(params):
  params["key"] = jax.random.key(0)
  refuses("key of params has the dtype key", two_layers, params, X)


@pytest.mark.parametrize("leaf", [1.0, "relu", jax.nn.relu])
def test_leaves_that_are_no_arrays(params, leaf):
  params["other"] = leaf
  refuses("other of params is .* no array", two_layers, params, X)


def test_no_params():
  refuses("params", lambda _, x: x * 2, {}, X)


@pytest.mark.parametrize(
  ("change", "match"),
  [
    (lambda keep: keep.pop("b"), "keep has the structure"),
    (lambda keep: keep.update(b=np.ones(5, bool)), r"bool\[5\] at b, .* bool\[6\]"),
    (lambda keep: keep.update(b=np.ones(6)), r"float64\[6\] at b, .* bool\[6\]"),
    (lambda keep: keep.update(w=True), r"bool\[\] at w, .* bool\[4, 6\]"),
  ],
)
def test_masks(params, change, match):
  keep = {name: np.ones(leaf.shape, bool) for name, leaf in params.items()}
  change(keep)
  refuses(match, two_layers, params, X, keep=keep)


def test_params_without_numbers(params):
  refuses("has no numbers", two_layers, jax.eval_shape(lambda: params), X)


def test_inputs_without_numbers(params):
  refuses("has no numbers", two_layers, params, jax.ShapeDtypeStruct((5, 4), "float32"))


def test_inside_jit(params):
  def params_traced(params):
    return gsm_optax.shrink(two_layers, params, X).params

  def inputs_traced(x):
    return gsm_optax.shrink(two_layers, params, x).params

  def closed_over(x):
    return gsm_optax.shrink(lambda p, y: two_layers(p, y) + x[0, 0], params, X).params

  for function, argument in ((params_traced, params), (inputs_traced, X)):
    with pytest.raises(ValueError, match="shrink cannot be called inside jit"):
      jax.jit(function)(argument)
  with pytest.raises(ValueError, match="inside jit"):
    jax.jit(closed_over)(X)


def test_other_params_for_the_smaller_function(params):
  small = gsm_optax.shrink(two_layers, params, X)
  assert small.params["w"].shape == (4, 5)
  with pytest.raises(ValueError, match=r"shape \(6,\) in place of \(5,\).*slice"):
    small.apply_fn(params, X)
  with pytest.raises(ValueError, match="have the structure"):
    small.apply_fn({**small.params, "more": np.ones(3)}, X)
  with pytest.raises(ValueError, match="no array"):
    small.apply_fn({**small.params, "b": 1.0}, X)


def test_shapes_at_which_the_function_is_another(params):
  def apply_fn(params, x):
    h = jax.nn.relu(x @ params["w"] + params["b"])
    if len(x) > 5:
      h = h + 1
    return h.sum(-1)

  small = gsm_optax.shrink(apply_fn, params, X)
  with pytest.raises(ValueError, match=r"At these shapes .* another"):
    small.apply_fn(small.params, np.concatenate([X, X]))


def test_constants_that_depend_on_shapes(params):
  params["b"][2] = 0.5

  def apply_fn(params, x):
    h = jax.nn.relu(x @ params["w"] + params["b"]) / len(x)
    return jnp.broadcast_to(h, (len(x), 6)) @ params["v"]

  small = gsm_optax.shrink(apply_fn, params, X)
  assert small.constants == 1
  for x in (X, X[:1], X[:2], np.concatenate([X, X])):
    wanted = apply_fn(params, x)
    np.testing.assert_allclose(small.apply_fn(small.params, x), wanted, rtol=1e-4)


def test_inputs_of_another_structure_or_rank(params):
  small = gsm_optax.shrink(two_layers, params, X)
  assert small.apply_fn(small.params, X[0]).shape == (3,)
  with pytest.raises(TypeError):
    small.apply_fn(small.params, X[:, :3])
  with pytest.raises(TypeError):
    small.apply_fn(small.params)


def test_slice_of_something_else(params):
  small = gsm_optax.shrink(two_layers, params, X)
  sliced = small.slice({"momentum": params, "count": 3, "w": np.ones((4, 5))})
  assert sliced["momentum"]["w"].shape == (4, 5)
  assert sliced["count"] == 3
  assert sliced["w"].shape == (4, 5)
  for other in ({}, {"w": np.ones((4, 5))}, {"u": np.ones((4, 6))}, 3, None):
    with pytest.raises(ValueError, match="No leaf of the tree"):
      small.slice(other)


def test_numbers_that_are_not_finite_stay(params):
  for number in (np.nan, np.inf):
    params["v"][2] = number
    small = gsm_optax.shrink(two_layers, params, X)
    assert small.params["v"].shape == (6, 3)
    np.testing.assert_array_equal(
      small.apply_fn(small.params, X), two_layers(params, X)
    )
