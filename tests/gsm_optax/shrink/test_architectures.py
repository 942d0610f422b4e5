"""Larger parts of well-known networks."""

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import pytest
from flax import linen

from tests.gsm_optax.shrink.layers import conv, norm, normalised
from tests.gsm_optax.shrink.zoo import assert_shrinks, numbers, randomised

pytestmark = pytest.mark.usefixtures("x64")


class Vit(linen.Module):
  @linen.compact
  def __call__(self, x):
    x = linen.Conv(6, (2, 2), (2, 2), padding="VALID")(x)
    x = x.reshape(x.shape[0], -1, 6)
    first = self.param("first", linen.initializers.zeros, (1, 1, 6))
    x = jnp.concatenate([jnp.tile(first, (x.shape[0], 1, 1)), x], 1)
    x = x + self.param("position", linen.initializers.zeros, (1, 5, 6))
    normal = linen.LayerNorm()(x)
    x = x + linen.MultiHeadDotProductAttention(2)(normal)
    x = x + linen.Dense(6)(linen.gelu(linen.Dense(8)(linen.LayerNorm()(x))))
    return linen.Dense(3)(linen.LayerNorm()(x)[:, 0])


def test_a_vision_transformer():
  model, x = Vit(), numbers(2, 4, 4, 3)
  variables = randomised(jax.eval_shape(model.init, jax.random.key(0), x))
  stays = ["Conv_0/kernel:0", "Conv_0/kernel:1", "position:1"]
  stays += ["Dense_2/kernel:1", "Dense_2/bias:0"]
  stays = [f"params/{path}" for path in stays]
  assert_shrinks(model.apply, variables, x, stays=stays)


@pytest.mark.parametrize("groups", [2, 6])
def test_group_norm(groups):
  class Network(linen.Module):
    @linen.compact
    def __call__(self, x):
      x = linen.relu(linen.GroupNorm(groups)(linen.Conv(6, (3, 3))(x)))
      return linen.Dense(2)(x.mean((1, 2)))

  model, x = Network(), numbers(2, 4, 4, 3)
  variables = randomised(jax.eval_shape(model.init, jax.random.key(0), x))
  stays = ["Conv_0/kernel:0", "Conv_0/kernel:1", "Dense_0/kernel:1", "Dense_0/bias:0"]
  assert_shrinks(model.apply, variables, x, stays=[f"params/{path}" for path in stays])


def test_a_convnext_block():
  shapes = {"stem": (2, 2, 3, 6), "depth": (3, 3, 1, 6), "depth_bias": (6,)}
  shapes |= {"up": (6, 8), "up_bias": (8,), "down": (8, 6), "gamma": (6,)}
  shapes |= {"scale": (6,), "head": (6, 2)}

  def apply_fn(params, x):
    x = conv(x, params["stem"], 2, padding="VALID")
    hidden = conv(x, params["depth"], groups=6) + params["depth_bias"]
    squares = jnp.square(hidden).mean(-1, keepdims=True)
    hidden = hidden / jnp.sqrt(squares + 1e-6) * params["scale"]
    hidden = jax.nn.gelu(hidden @ params["up"] + params["up_bias"])
    x = x + params["gamma"] * (hidden @ params["down"])
    return x.mean((1, 2)) @ params["head"]

  stays = ["stem:0", "stem:1", "depth:0", "depth:1", "head:1"]
  assert_shrinks(apply_fn, randomised(shapes), numbers(2, 6, 6, 3), stays=stays)


def test_a_u_net():
  shapes = {"in": (3, 3, 3, 4), "down": (3, 3, 4, 6), "mid": (3, 3, 6, 6)}
  shapes |= {"up": (3, 3, 6, 4), "out": (3, 3, 8, 2), "n": norm(6)}

  def apply_fn(params, x):
    first = jax.nn.relu(conv(x, params["in"]))
    x = jax.nn.relu(conv(first, params["down"], 2))
    x = jax.nn.relu(normalised(params["n"], conv(x, params["mid"])))
    b, h, w, c = x.shape
    x = jax.image.resize(x, (b, 2 * h, 2 * w, c), "bilinear")
    x = jnp.concatenate([conv(x, params["up"]), first], -1)
    return conv(x, params["out"])

  stays = [f"{name}:{a}" for name in ("in", "down", "mid", "up", "out") for a in (0, 1)]
  x = numbers(2, 4, 4, 3)
  assert_shrinks(apply_fn, randomised(shapes), x, stays=[*stays, "out:3"])


def test_sub_pixel_convolution():
  shapes = {"a": (3, 3, 3, 6), "up": (3, 3, 6, 16), "out": (3, 3, 4, 2)}

  def apply_fn(params, x):
    x = jax.nn.relu(conv(x, params["a"]))
    x = conv(x, params["up"])
    b, h, w, _ = x.shape
    x = x.reshape(b, h, w, 2, 2, 4).transpose(0, 1, 3, 2, 4, 5)
    return conv(jax.nn.relu(x.reshape(b, 2 * h, 2 * w, 4)), params["out"])

  stays = [f"{name}:{axis}" for name in shapes for axis in (0, 1)] + ["out:3"]
  assert_shrinks(apply_fn, randomised(shapes), numbers(2, 4, 4, 3), stays=stays)


def test_experts():
  shapes = {"gate": (5, 3), "a": (3, 5, 8), "b": (3, 8), "c": (3, 8, 2)}

  def apply_fn(params, x):
    shares = jax.nn.softmax(x @ params["gate"])
    hidden = jnp.einsum("bd,edh->beh", x, params["a"]) + params["b"]
    out = jnp.einsum("beh,eho->beo", jax.nn.relu(hidden), params["c"])
    return jnp.einsum("be,beo->bo", shares, out)

  stays = ["gate:1", "a:0", "b:0", "c:0", "c:2"]
  groups = assert_shrinks(apply_fn, randomised(shapes), numbers(4, 5), stays=stays)
  assert groups.fixed["a", 0] == "reduce_max"


def test_haiku_with_state():
  def network(x, training=False):
    x = hk.Conv2D(4, 3)(x)
    x = hk.BatchNorm(True, True, 0.9)(x, is_training=training)
    x = hk.MaxPool((2, 2, 1), (2, 2, 1), "VALID")(jax.nn.relu(x))
    return hk.Linear(2)(hk.Flatten()(x))

  model = hk.without_apply_rng(hk.transform_with_state(network))
  x = numbers(2, 4, 4, 3)
  params, state = model.init(jax.random.key(0), x, True)
  params = randomised(params)

  def apply_fn(params, x):
    return model.apply(params, state, x)[0]

  stays = ["conv2_d/w:0", "conv2_d/w:1", "linear/w:1", "linear/b:0"]
  assert_shrinks(apply_fn, params, x, stays=stays)


def test_equinox_convolutions():
  keys = jax.random.split(jax.random.key(0), 3)
  model = eqx.nn.Sequential(
    [
      eqx.nn.Conv2d(3, 6, 3, key=keys[0]),
      eqx.nn.Lambda(jax.nn.relu),
      eqx.nn.MaxPool2d(2, 2),
      eqx.nn.Conv2d(6, 4, 1, key=keys[1]),
      eqx.nn.Lambda(jnp.ravel),
      eqx.nn.Linear(16, 2, key=keys[2]),
    ]
  )
  params, static = eqx.partition(model, eqx.is_inexact_array)

  def apply_fn(params, x):
    return jax.vmap(eqx.combine(params, static))(x)

  stays = ["layers/0/weight:2", "layers/0/weight:3"]
  stays += ["layers/5/weight:0", "layers/5/bias:0"]
  assert_shrinks(apply_fn, randomised(params), numbers(2, 3, 6, 6), stays=stays)


def test_a_state_space():
  """A linear recurrence, computed by halves."""
  shapes = {"in": (5, 12), "decay": (6,), "out": (6, 2)}

  def apply_fn(params, x):
    into, gate = jnp.split(x @ params["in"], 2, -1)
    decay = jnp.broadcast_to(jax.nn.sigmoid(params["decay"]), into.shape)

    def joined(a, b):
      return a[0] * b[0], a[1] * b[0] + b[1]

    _, states = jax.lax.associative_scan(joined, (decay, into), axis=1)
    return (states * jax.nn.silu(gate)) @ params["out"]

  x = numbers(2, 4, 5)
  assert_shrinks(apply_fn, randomised(shapes), x, stays=["out:1"], training=True)


def test_half_precision_within():
  shapes = {"a": (5, 8), "b": (8,), "c": (8, 2)}

  def apply_fn(params, x):
    hidden = jax.nn.relu(x @ params["a"] + params["b"]).astype(jnp.float32)
    return jnp.clip(hidden, 0, 1).astype(x.dtype) @ params["c"]

  assert_shrinks(apply_fn, randomised(shapes), numbers(4, 5), stays=["c:1"])
