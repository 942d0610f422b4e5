"""Layers of dense products, in every package that people write them with."""

import functools

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import gsm_optax
from tests.gsm_optax.shrink.zoo import (
  assert_close,
  assert_shrinks,
  numbers,
  random_mask,
  randomised,
)

pytestmark = pytest.mark.usefixtures("x64")
SHAPES = {
  "first": {"kernel": (6, 20), "bias": (20,)},
  "second": {"kernel": (20, 8), "bias": (8,)},
  "third": {"kernel": (8, 3), "bias": (3,)},
}


def mlp(params, x):
  for name in ("first", "second"):
    x = jax.nn.relu(x @ params[name]["kernel"] + params[name]["bias"])
  return x @ params["third"]["kernel"] + params["third"]["bias"]


def test_a_dict():
  stays = ["third/kernel:1", "third/bias:0"]
  params = randomised(SHAPES)
  assert_shrinks(mlp, params, numbers(4, 6), stays=stays, training=True)


def test_linen():
  class Mlp(linen.Module):
    @linen.compact
    def __call__(self, x):
      for width in (20, 8):
        x = linen.relu(linen.Dense(width)(x))
      return linen.Dense(3)(x)

  model, x = Mlp(), numbers(4, 6)
  params = randomised(jax.eval_shape(model.init, jax.random.key(0), x))
  stays = ["params/Dense_2/kernel:1", "params/Dense_2/bias:0"]
  assert_shrinks(model.apply, params, x, stays=stays)


def test_nnx():
  rngs = nnx.Rngs(0)
  model = nnx.Sequential(
    nnx.Linear(6, 20, rngs=rngs), nnx.relu, nnx.Linear(20, 3, rngs=rngs)
  )
  graph, params = nnx.split(model)
  stays = ["layers/2/kernel:1", "layers/2/bias:0"]

  def apply_fn(params, x):
    return nnx.merge(graph, params)(x)

  assert_shrinks(apply_fn, randomised(params), numbers(4, 6), stays=stays)


def test_haiku():
  model = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([20, 8, 3])(x)))
  x = numbers(4, 6)
  params = randomised(model.init(jax.random.key(0), x))
  stays = ["mlp/~/linear_2/w:1", "mlp/~/linear_2/b:0"]
  assert_shrinks(model.apply, params, x, stays=stays)


def test_equinox():
  model = eqx.nn.MLP(6, 3, 20, 2, key=jax.random.key(0))
  params, static = eqx.partition(model, eqx.is_array)

  def apply_fn(params, x):
    return jax.vmap(eqx.combine(params, static))(x)

  stays = ["layers/2/weight:0", "layers/2/bias:0"]
  assert_shrinks(apply_fn, randomised(params), numbers(4, 6), stays=stays)


@pytest.mark.parametrize("optimizer", [optax.adam(0.1), optax.sgd(0.1, 0.9)])
def test_an_optimizers_state_goes_on(optimizer):
  params, x = randomised(SHAPES), numbers(4, 6)
  groups = gsm_optax.channel_groups(mlp, params, x)
  mask = random_mask(groups, params, 0.5, 0)
  zeroed = jax.tree.map(lambda p, m: jnp.asarray(np.where(m, p, 0)), params, mask)
  small = gsm_optax.shrink(mlp, params, x, keep=mask)

  def step(function, params, state):
    grads = jax.grad(lambda params: jnp.sum(function(params, x) ** 2))(params)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  step = jax.jit(step, static_argnums=0)
  after = step(mlp, zeroed, optimizer.init(zeroed))
  small_after = step(small.apply_fn, small.params, small.slice(optimizer.init(zeroed)))
  assert_close(small_after, small.slice(after))


def test_frozen_layers_that_are_closed_over():
  params = randomised(SHAPES)
  frozen = {"first": params.pop("first")}

  def apply_fn(params, x):
    return mlp({**frozen, **params}, x)

  # Between both is the frozen layer's end: its outputs go, though it is not in params.
  stays = ["third/kernel:1", "third/bias:0"]
  assert_shrinks(apply_fn, params, numbers(4, 6), stays=stays, training=True)


def test_shapes_that_are_written_into_the_function():
  params = randomised({"a": (6, 128), "scale": (16,), "b": (8, 16, 3)})

  def apply_fn(params, x):
    b = x.shape[0]
    hidden = jax.nn.relu(x @ params["a"]).reshape(b, 8, 16) * params["scale"]
    return hidden.reshape(b, 128) @ params["b"].reshape(128, 3)

  assert_shrinks(apply_fn, params, numbers(4, 6), stays=["b:2"], training=True)


@pytest.mark.parametrize(
  "activation",
  [
    *(jax.nn.relu, jax.nn.silu, jax.nn.leaky_relu, jax.nn.relu6, jax.nn.hard_swish),
    *(jax.nn.selu, jnp.tanh, jnp.square, jax.nn.gelu, jax.nn.mish),
    functools.partial(jax.nn.gelu, approximate=False),
  ],
)
def test_activations_that_are_zero_at_zero(activation):
  params = randomised({"a": (5, 8), "b": (8,)})

  def apply_fn(params, x):
    return activation(x @ params["a"] + params["b"]).sum(-1)

  assert_shrinks(apply_fn, params, numbers(3, 5), shares=[0.5])


@pytest.mark.parametrize("activation", [jax.nn.sigmoid, jax.nn.softplus, jnp.cos])
def test_activations_that_are_not_zero_before_weights_that_are(activation):
  params = randomised({"a": (5, 8), "b": (8,), "c": (8, 2)})

  def apply_fn(params, x):
    return activation(x @ params["a"] + params["b"]) @ params["c"]

  x = numbers(3, 5)
  assert_shrinks(apply_fn, params, x, stays=["c:1"], training=True, shares=[0.5])


def test_a_derivative_of_ones_own():
  @jax.custom_vjp
  def clipped(x, limit):
    return jnp.clip(x, -limit, limit)

  clipped.defvjp(
    lambda x, limit: (clipped(x, limit), limit),
    lambda limit, g: (2 * g, jnp.zeros_like(limit)),
  )

  def apply_fn(params, x):
    return clipped(x @ params["a"] + params["b"], 0.5) @ params["c"]

  params = randomised({"a": (5, 8), "b": (8,), "c": (8, 2)})
  assert_shrinks(apply_fn, params, numbers(3, 5), stays=["c:1"], training=True)


def test_branches():
  def apply_fn(params, x):
    hidden = x @ params["a"]
    hidden = jax.lax.cond(
      jnp.sum(x) > 0,
      lambda hidden, b: jax.nn.relu(hidden * b),
      lambda hidden, b: hidden - jnp.abs(b),
      hidden,
      params["b"],
    )
    return hidden @ params["c"]

  # The batch decides, so that no other is looked at.
  params, x = randomised({"a": (5, 8), "b": (8,), "c": (8, 2)}), numbers(3, 5)
  for sign in (1, -1):
    x = sign * jnp.sign(jnp.sum(x)) * x
    assert_shrinks(apply_fn, params, x, stays=["c:1", "a:0"], shares=[0.5])


def test_what_stays_is_told():
  groups = gsm_optax.channel_groups(mlp, randomised(SHAPES), numbers(4, 6))
  assert [group.size for group in groups.groups] == [20, 6, 8]
  assert groups.fixed == {
    ("third/kernel", 1): "an output",
    ("third/bias", 0): "an output",
  }
  hidden = groups.groups[0].members
  assert {*hidden} == {("first/kernel", 1), ("first/bias", 0), ("second/kernel", 0)}
  for unit_at in hidden.values():
    np.testing.assert_array_equal(unit_at, np.arange(20))
