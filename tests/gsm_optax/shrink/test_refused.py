"""What cannot be taken out stays, and the reason is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import gsm_optax
from tests.gsm_optax.shrink.hidden_layer import ONE, WVB, X, assert_same
from tests.gsm_optax.shrink.zoo import assert_shrinks, assert_stays, numbers, randomised

pytestmark = pytest.mark.usefixtures("x64")
SHAPES = {"a": (5, 8), "b": (8,)}


def summed(function):
  """Behind a dense layer of 8 units, without weights by which a unit may be zero."""

  def apply_fn(params, x):
    return function(x @ params["a"] + params["b"]).sum(-1)

  return apply_fn


def looped(hidden):
  return lax.while_loop(lambda h: jnp.sum(h) < 3, lambda h: h + jnp.abs(h) + 1, hidden)


FUNCTIONS = {
  "summed while not zero: logistic": jax.nn.sigmoid,
  "summed while not zero: cos": jnp.cos,
  "summed while not zero: add": lambda h: h + 1,
  "summed while not zero: select_n": jax.nn.softplus,
  "summed while not zero: max": lambda h: jnp.maximum(h, 0.5),
  "cumsum": lambda h: jnp.cumsum(h, -1),
  "cumprod": lambda h: jnp.cumprod(h, -1),
  "cumlogsumexp": lambda h: lax.cumlogsumexp(h, axis=1),
  "sort": lambda h: jnp.sort(h, -1),
  "argmax": lambda h: h * jnp.argmax(h, -1, keepdims=True),
  "reduce_max": jax.nn.softmax,
  "top_k": lambda h: h * lax.top_k(h, 1)[0],
  "no rule for while": looped,
  "no rule for fft": lambda h: jnp.fft.fft(h).real,
  "no rule for scatter": lambda h: h.at[:, np.array([0, 2])].set(0),
  "looked up by an index": lambda h: h[:, np.array([3, 1, 0, 2, 4, 5, 7, 6])],
}


@pytest.mark.parametrize("reason", FUNCTIONS)
def test_hidden_units_stay(reason):
  function = summed(FUNCTIONS[reason])
  assert_stays(function, randomised(SHAPES), numbers(4, 5), a_1=reason)


def test_a_decomposition_is_not_known():
  def apply_fn(params, x):
    q, _ = jnp.linalg.qr(params["a"] * 1.0)
    return jax.nn.relu(x @ q) @ params["c"]

  params = randomised({"a": (8, 6), "c": (6, 3)})
  reason = "no rule for qr"
  fixed = gsm_optax.channel_groups(apply_fn, params, numbers(4, 8)).fixed
  assert fixed["a", 0].startswith("no rule for")
  assert fixed["c", 0] == reason
  assert_stays(apply_fn, params, numbers(4, 8), a_0=fixed["a", 0], c_0=reason)


def test_an_unknown_primitive_is_not_taken_for_elementwise():
  """Of arrays of the same shape, this one mixes positions."""

  def apply_fn(params, x):
    hidden = lax.linalg.triangular_solve(jnp.eye(8) + 0.1, x @ params["a"])
    return hidden @ params["c"]

  assert_stays(
    apply_fn,
    randomised({"a": (5, 8), "c": (8, 3)}),
    numbers(4, 5),
    a_1="no rule for triangular_solve",
    c_0="no rule for triangular_solve",
  )


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


def test_a_table_with_indices_along_the_channels():
  def apply_fn(params, x, index):
    hidden = jax.nn.relu(x @ params["a"] + params["b"])
    return jnp.take_along_axis(hidden, index, -1).sum(-1)

  index = jnp.asarray(np.random.default_rng(0).integers(0, 8, (4, 8)))
  reason = "looked up by an index"
  params = randomised(SHAPES)
  assert_stays(apply_fn, params, numbers(4, 5), index, a_1=reason, b_0=reason)


def test_indices_that_are_out_of_range():
  def apply_fn(params, tokens):
    rows = params["table"].at[tokens].get(mode="fill")
    return jax.nn.relu(rows @ params["a"]) @ params["c"]

  params = randomised({"table": (7, 6), "a": (6, 8), "c": (8, 3)})
  tokens = jnp.array([[0, -1, 6], [2, 2, -7]])
  assert_shrinks(apply_fn, params, tokens, stays=["table:0", "c:1"])
  keep = {name: np.ones(p.shape, bool) for name, p in params.items()}
  keep["a"][:, ::2] = False
  keep["c"][::2] = False
  small = gsm_optax.shrink(apply_fn, params, tokens, keep=keep)
  beyond = jnp.array([[0, 7, -8], [1, 100, 3]])
  found = np.isnan(small.apply_fn(small.params, beyond))
  np.testing.assert_array_equal(found, np.isnan(apply_fn(params, beyond)))
  assert found.any()


def test_neighbours_that_are_added():
  """Local response normalisation: a sum over a window of channels, by hand."""

  def normalised(hidden):
    squares = jnp.pad(jnp.square(hidden), ((0, 0), (1, 1)))
    around = squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]
    return hidden / jnp.sqrt(1 + around)

  reason = "all of the axis goes at once"
  assert_stays(summed(normalised), randomised(SHAPES), numbers(4, 5), a_1=reason)


def test_pooling_over_channels():
  def pooled(hidden):
    window = (1, 2)
    return lax.reduce_window(hidden, -jnp.inf, lax.max, window, window, "VALID")

  reason = "reduce_window_max"
  assert_stays(summed(pooled), randomised(SHAPES), numbers(4, 5), a_1=reason)


def test_what_a_branch_decides_by():
  def decided(hidden):
    return lax.cond(hidden.max() > 1, lambda h: h, lambda h: 2 * h, hidden)

  reason = "reduce_max"
  assert_stays(summed(decided), randomised(SHAPES), numbers(4, 5), a_1=reason)


def test_one_branch_in_which_units_are_not_zero():
  def apply_fn(params, x):
    hidden = x @ params["a"] + params["b"]
    return lax.cond(x[0, 0] > 0, jnp.cos, jnp.sin, hidden).sum(-1)

  reason = "summed while not zero: cos"
  assert_stays(apply_fn, randomised(SHAPES), numbers(4, 5), a_1=reason)


def test_a_state_that_does_not_begin_at_zero():
  def apply_fn(params, x):
    def step(hidden, now):
      return jnp.tanh(now @ params["a"] + hidden), None

    hidden, _ = lax.scan(step, jnp.ones((x.shape[0], 8)), x.swapaxes(0, 1))
    return hidden.sum(-1)

  params = randomised({"a": (5, 8)})
  reason = "summed while not zero: add"
  assert_stays(apply_fn, params, numbers(2, 4, 5), a_1=reason)
