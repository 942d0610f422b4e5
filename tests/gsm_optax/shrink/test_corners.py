"""Where a smaller function could be wrong: borders, infinities, ties and rounding."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import gsm_optax

pytestmark = pytest.mark.usefixtures("x64")
IMAGES = ("NHWC", "HWIO", "NHWC")


def numbers(*shape, zero_columns=(), zero_rows=()):
  result = np.random.default_rng(shape).normal(size=shape)
  result[..., list(zero_columns)] = 0
  result[list(zero_rows)] = 0
  return result


X, ONE = numbers(5, 4), numbers(1, 4)
W, V = numbers(4, 6, zero_columns=[1, 2]), numbers(6, 3)
B = np.array([0.3, 0.7, -0.4, 0.1, -0.2, 0.6])  # unit 1 is constant, and so is 2
WVB = {"w": W, "v": V, "b": B}


def assert_same(apply_fn, params, *batches, constants=None, atol=1e-9, **shapes):
  """Shrinks, and compares at all batches; each batch is a tuple of inputs."""
  small = gsm_optax.shrink(apply_fn, params, *batches[0])
  for name, shape in shapes.items():
    assert small.params[name].shape == shape
  if constants is not None:
    assert small.constants == constants
  for batch in batches:
    found = small.apply_fn(small.params, *batch)
    wanted = apply_fn(*jax.tree.map(jnp.asarray, (params, *batch)))
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
      one, other = np.asarray(one), np.asarray(other)
      assert (one.shape, one.dtype) == (other.shape, other.dtype)
      kind = complex if np.iscomplexobj(other) else float
      np.testing.assert_allclose(one.astype(kind), other.astype(kind), 0, atol)
  return small


def hidden(function, second=jnp.matmul):
  """A hidden layer of six units, of which two are constant."""
  return lambda p, x: second(function(x @ p["w"] + p["b"]), p["v"])


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


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_fewer_bits(dtype):
  params = {name: jnp.asarray(leaf, dtype) for name, leaf in WVB.items()}
  x = jnp.asarray(X, dtype)
  atol = 20 * float(jnp.finfo(dtype).eps)
  assert_same(hidden(jnp.tanh), params, (x,), (x[:1],), atol=atol, v=(4, 3))


def test_numpy_arrays_of_float64_without_x64():
  jax.config.update("jax_enable_x64", False)
  small = gsm_optax.shrink(hidden(jnp.tanh), WVB, X)
  found = small.apply_fn(small.params, X)
  np.testing.assert_allclose(found, hidden(jnp.tanh)(WVB, X), atol=1e-5)
  assert found.dtype == np.float32


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


def test_primitives_without_a_rule():
  """They compute on whole arrays, whatever functions they call."""
  mesh = jax.sharding.Mesh(jax.devices()[:1], "d")
  spec = jax.sharding.PartitionSpec("d")

  def apply_fn(p, x):
    h = jnp.tanh(x @ p["w"] + p["b"]) @ p["v"]
    h = jax.shard_map(jnp.sin, mesh=mesh, in_specs=spec, out_specs=spec)(h)
    h = jnp.linalg.solve(jnp.eye(3) + h.T @ h, h.T).T
    h = lax.while_loop(lambda h: h.sum() > 1, lambda h: h / 2, h)
    return jax.ops.segment_sum(h, jnp.arange(len(h)) // 2, 3)

  assert_same(apply_fn, WVB, (X,), (ONE,), v=(4, 3))


def test_a_scalar_decides_nothing_that_other_scalars_would_not():
  def apply_fn(p, x):
    return jax.nn.relu(x @ p["w"] - p["t"]).sum(-1)

  assert_same(apply_fn, {"w": W, "t": np.asarray(0.5)}, (X,), (ONE,))


def test_differences_that_are_not_numbers_are_found():
  from gsm_optax._shrink._shrink import difference

  nan, inf = np.full(3, np.nan), np.array([np.inf, 1, 1])
  assert difference([nan, inf], [nan, inf]) == 0
  assert difference([nan], [np.ones(3)]) == np.inf
  assert difference([np.ones(3)], [nan]) == np.inf
  assert difference([inf], [inf[::-1]]) == np.inf
  assert difference([inf], [inf * [1, 1, 2]]) == 0.5
  assert difference([np.ones(2) * 1j], [np.ones(2)]) > 1
  assert difference([np.zeros(0)], [np.zeros(0)]) == 0


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
