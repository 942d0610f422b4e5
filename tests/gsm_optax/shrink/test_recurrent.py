"""Networks that go along a sequence."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

from tests.gsm_optax.shrink.zoo import assert_shrinks, numbers, randomised

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("start", ["zeros", "learnt"])
def test_an_rnn(start):
  def apply_fn(params, x):
    def step(hidden, now):
      hidden = jnp.tanh(now @ params["in"] + hidden @ params["h"] + params["b"])
      return hidden, hidden

    first = jnp.zeros((x.shape[0], 8))
    if start == "learnt":
      first = first + params["first"]
    _, hidden = lax.scan(step, first, x.swapaxes(0, 1))
    return hidden.swapaxes(0, 1) @ params["out"]

  shapes = {"in": (5, 8), "h": (8, 8), "b": (8,), "out": (8, 2), "first": (8,)}
  if start == "zeros":
    del shapes["first"]
  params = randomised(shapes)
  groups = assert_shrinks(
    apply_fn, params, numbers(2, 4, 5), stays=["out:1"], training=True
  )
  assert sorted(group.size for group in groups.groups) == [5, 8]


def test_a_gated_cell():
  """Of a hidden unit at zero, the gates do not matter."""

  def apply_fn(params, x):
    def step(carry, now):
      hidden, cell = carry
      gates = now @ params["in"] + hidden @ params["h"] + params["b"]
      i, f, g, o = jnp.split(gates, 4, -1)
      cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
      hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
      return (hidden, cell), hidden

    zeros = jnp.zeros((x.shape[0], 6))
    (hidden, _), _ = lax.scan(step, (zeros, zeros), x.swapaxes(0, 1))
    return hidden @ params["out"]

  params = randomised({"in": (5, 24), "h": (6, 24), "b": (24,), "out": (6, 2)})
  groups = assert_shrinks(apply_fn, params, numbers(2, 4, 5), stays=["out:1"])
  assert sorted(group.size for group in groups.groups) == [5, 6]


@pytest.mark.parametrize("cell", [linen.GRUCell, linen.OptimizedLSTMCell])
def test_linen_cells(cell):
  class Network(linen.Module):
    @linen.compact
    def __call__(self, x):
      return linen.Dense(2)(linen.RNN(cell(6, param_dtype=jnp.float64))(x))

  model, x = Network(), numbers(2, 4, 5)
  params = randomised(jax.eval_shape(model.init, jax.random.key(0), x))["params"]

  def apply_fn(params, x):
    return model.apply({"params": params}, x)

  stays = ["Dense_0/kernel:1", "Dense_0/bias:0"]
  assert_shrinks(apply_fn, params, x, stays=stays)


def test_nnx_rnn():
  rngs = nnx.Rngs(0)
  cell, dense = (
    nnx.SimpleCell(5, 6, dtype=jnp.float64, rngs=rngs),
    nnx.Linear(6, 2, rngs=rngs),
  )
  graph, params, rest = nnx.split((cell, dense), nnx.Param, ...)

  def apply_fn(params, x):
    cell, dense = nnx.merge(graph, params, rest)
    return dense(nnx.RNN(cell)(x, initial_carry=jnp.zeros((len(x), 6))))

  stays = ["1/kernel:1", "1/bias:0"]
  assert_shrinks(apply_fn, randomised(params), numbers(2, 4, 5), stays=stays)


def test_equinox_gru():
  cell = eqx.nn.GRUCell(5, 6, key=jax.random.key(0))
  params, static = eqx.partition((cell, jnp.zeros((6, 2))), eqx.is_array)

  def apply_fn(params, x):
    cell, out = eqx.combine(params, static)

    def one(x):
      hidden, _ = lax.scan(lambda h, now: (cell(now, h), None), jnp.zeros(6), x)
      return hidden @ out

    return jax.vmap(one)(x)

  assert_shrinks(apply_fn, randomised(params), numbers(2, 4, 5), stays=["1:1"])


def test_a_stack_of_layers_with_skips():
  def apply_fn(params, x):
    def layer(x, each):
      hidden = jax.nn.relu(x @ each["a"] + each["b"])
      return x + hidden @ each["c"], jnp.square(hidden) @ params["probe"]

    x, probes = lax.scan(layer, x @ params["in"], params["layers"], unroll=2)
    return x @ params["out"], probes.sum(0)

  shapes = {"in": (5, 6), "out": (6, 2), "probe": (8, 3)}
  shapes["layers"] = {"a": (4, 6, 8), "b": (4, 8), "c": (4, 8, 6)}
  stays = ["out:1", "probe:1", *(f"layers/{name}:0" for name in "abc")]
  assert_shrinks(
    apply_fn, randomised(shapes), numbers(3, 5), stays=stays, training=True
  )


def test_a_loop_of_a_known_length():
  def apply_fn(params, x):
    def body(_, hidden):
      return jax.nn.relu(hidden @ params["w"])

    return lax.fori_loop(0, 3, body, x @ params["in"]) @ params["out"]

  params = randomised({"in": (5, 6), "w": (6, 6), "out": (6, 2)})
  assert_shrinks(apply_fn, params, numbers(3, 5), stays=["out:1"], training=True)


def test_a_loop_over_a_table_of_numbers():
  decay = np.linspace(0.1, 0.9, 6)

  def apply_fn(params, x):
    def step(state, now):
      state = decay * state + now
      return state, state * params["c"]

    into = (x @ params["in"]).swapaxes(0, 1)
    _, states = lax.scan(step, jnp.zeros(into.shape[1:]), into, reverse=True)
    return jax.nn.silu(states).swapaxes(0, 1) @ params["out"]

  params = randomised({"in": (5, 6), "c": (6,), "out": (6, 2)})
  assert_shrinks(apply_fn, params, numbers(2, 4, 5), stays=["out:1"])
