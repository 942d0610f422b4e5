"""Small networks in several frameworks, as functions of their params."""

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
from flax import linen, nnx

IMAGE, VECTOR = jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 6))
SEQUENCE = jnp.zeros((1, 5, 8))


class Residual(linen.Module):
  """Two blocks of convolutions with BatchNorm, the second one wider."""

  @linen.compact
  def __call__(self, x):
    def norm():
      return linen.BatchNorm(use_running_average=True)

    x = linen.relu(norm()(linen.Conv(4, (3, 3), use_bias=False)(x)))
    for width in (4, 8):
      y = linen.relu(norm()(linen.Conv(width, (3, 3), use_bias=False)(x)))
      y = norm()(linen.Conv(width, (3, 3), use_bias=False)(y))
      if width != x.shape[-1]:
        x = linen.Conv(width, (1, 1), use_bias=False)(x)
      x = linen.relu(x + y)
    return linen.Dense(3)(x.mean((1, 2)))


class ConvNet(linen.Module):
  """Convolutions, pooling, and dense layers behind a flattened image."""

  @linen.compact
  def __call__(self, x):
    for width in (4, 6):
      x = linen.max_pool(linen.relu(linen.Conv(width, (3, 3))(x)), (2, 2), (2, 2))
    x = linen.relu(linen.Dense(10)(x.reshape(x.shape[0], -1)))
    return linen.Dense(3)(x)


class Transformer(nnx.Module):
  """A block of attention and a hidden layer."""

  def __init__(self, rngs):
    self.norm = nnx.LayerNorm(8, rngs=rngs)
    self.attention = nnx.MultiHeadAttention(4, 8, decode=False, rngs=rngs)
    self.up, self.down = nnx.Linear(8, 12, rngs=rngs), nnx.Linear(12, 8, rngs=rngs)
    self.head = nnx.Linear(8, 3, rngs=rngs)

  def __call__(self, x):
    x = x + self.attention(self.norm(x))
    x = x + self.down(nnx.gelu(self.up(x)))
    return self.head(x)


def of_linen(module, x):
  variables = module.init(jax.random.key(0), x)
  rest = {key: value for key, value in variables.items() if key != "params"}
  return lambda p, x: module.apply({"params": p, **rest}, x), variables["params"], x


def of_nnx(module, x):
  definition, params, rest = nnx.split(module, nnx.Param, ...)
  return lambda p, x: nnx.merge(definition, p, rest)(x), params, x


def of_equinox():
  model = eqx.nn.MLP(6, 3, 8, 2, key=jax.random.key(0))
  params, static = eqx.partition(model, eqx.is_inexact_array)
  return lambda p, x: jax.vmap(eqx.combine(p, static))(x), params, VECTOR


def of_haiku():
  network = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([8, 10, 3])(x)))
  return network.apply, network.init(jax.random.key(0), VECTOR), VECTOR


def of_dict():
  shapes = {"a": (6, 8), "b": (8, 4), "c": (4, 3)}
  params = {
    name: jax.random.normal(jax.random.key(i), shape) / 2
    for i, (name, shape) in enumerate(shapes.items())
  }

  def apply_fn(params, x):
    return jnp.tanh(jnp.tanh(x @ params["a"]) @ params["b"]) @ params["c"]

  return apply_fn, params, VECTOR


NETWORKS = {
  "dict": of_dict,
  "equinox": of_equinox,
  "haiku": of_haiku,
  "linen, residual": lambda: of_linen(Residual(), IMAGE),
  "linen, flattened": lambda: of_linen(ConvNet(), IMAGE),
  "nnx, attention": lambda: of_nnx(Transformer(nnx.Rngs(0)), SEQUENCE),
}
"""By name, what gives ``(apply_fn, params, inputs)``."""

UNITS = {
  "dict": 8 + 4,
  "equinox": 8 + 8,
  "haiku": 8 + 10,
  "linen, residual": 4 + 4 + 8 + 8,
  "linen, flattened": 4 + 6 + 10,
  "nnx, attention": 4 + 2 + 2 + 12,  # heads, and features within heads
}
"""How many units each has."""
