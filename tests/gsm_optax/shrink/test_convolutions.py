"""Convolutions with all that is put between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

import gsm_optax
from tests.gsm_optax.shrink.layers import conv, norm, normalised
from tests.gsm_optax.shrink.zoo import assert_close, assert_shrinks, numbers, randomised

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("pool", [linen.max_pool, linen.avg_pool])
@pytest.mark.parametrize("frozen", [False, True])
def test_conv_batch_norm_pool_flatten_dense(pool, frozen):
  class Network(linen.Module):
    @linen.compact
    def __call__(self, x):
      for width in (4, 6):
        x = linen.Conv(width, (3, 3))(x)
        x = linen.BatchNorm(use_running_average=True)(x)
        x = pool(linen.relu(x), (2, 2), (2, 2))
      x = linen.relu(linen.Dense(5)(x.reshape(x.shape[0], -1)))
      return linen.Dense(2)(x)

  model, x = Network(), numbers(2, 8, 8, 3)
  variables = randomised(jax.eval_shape(model.init, jax.random.key(0), x))
  stays = ["Dense_1/kernel:1", "Dense_1/bias:0"]
  stays += [f"Conv_{n}/kernel:{axis}" for n in (0, 1) for axis in (0, 1)]
  if not frozen:
    stays = [f"params/{path}" for path in stays]
    assert_shrinks(model.apply, variables, x, stays=stays)
    return

  def apply_fn(params, x):
    return model.apply({**variables, "params": params}, x)

  assert_shrinks(apply_fn, variables["params"], x, stays=stays)


def test_nnx_in_inference_mode():
  rngs = nnx.Rngs(0)
  model = nnx.Sequential(
    nnx.Conv(3, 6, (3, 3), rngs=rngs),
    nnx.BatchNorm(6, rngs=rngs),
    nnx.relu,
    nnx.Conv(6, 4, (3, 3), strides=2, rngs=rngs),
    lambda x: jnp.mean(x, (1, 2)),
  )
  model.eval()
  graph, params, rest = nnx.split(model, nnx.Param, ...)

  def apply_fn(params, x):
    return nnx.merge(graph, params, rest)(x)

  # A mean over pixels keeps the channels, which are the outputs.
  stays = [f"layers/{n}/kernel:{axis}" for n in (0, 3) for axis in (0, 1)]
  stays += ["layers/3/kernel:3", "layers/3/bias:0"]
  assert_shrinks(apply_fn, randomised(params), numbers(2, 6, 6, 3), stays=stays)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_separable(multiplier):
  width = 4 * multiplier
  shapes = {"a": (1, 1, 3, 4), "an": norm(4), "depth": (3, 3, 1, width)}
  shapes |= {"bias": (width,), "point": (1, 1, width, 5), "head": (5, 2)}

  def apply_fn(params, x):
    x = jax.nn.relu(normalised(params["an"], conv(x, params["a"])))
    x = jax.nn.relu(conv(x, params["depth"], 2, groups=4) + params["bias"])
    x = jax.nn.relu(conv(x, params["point"]))
    return x.mean((1, 2)) @ params["head"]

  assert_shrinks(
    apply_fn,
    randomised(shapes),
    numbers(2, 6, 6, 3),
    stays=["depth:0", "depth:1", "head:1"],
    training=True,
  )


@pytest.mark.parametrize("shuffled", [False, True])
def test_groups_of_channels(shuffled):
  shapes = {"a": (1, 1, 3, 12), "g": (3, 3, 3, 8), "h": (1, 1, 2, 8), "head": (8, 2)}

  def apply_fn(params, x):
    x = jax.nn.relu(conv(x, params["a"]))
    x = jax.nn.relu(conv(x, params["g"], groups=4))
    if shuffled:
      b, h, w, _ = x.shape
      x = x.reshape(b, h, w, 4, 2).swapaxes(3, 4).reshape(b, h, w, 8)
    x = jax.nn.relu(conv(x, params["h"], groups=4))
    return x.mean((1, 2)) @ params["head"]

  stays = ["g:0", "g:1", "head:1"]
  assert_shrinks(apply_fn, randomised(shapes), numbers(2, 4, 4, 3), stays=stays)


def test_one_output_is_not_taken_for_depthwise():
  shapes = {"a": (3, 3, 3, 6), "ab": (6,), "mask": (3, 3, 6, 1)}

  def apply_fn(params, x):
    x = jax.nn.relu(conv(x, params["a"]) + params["ab"])
    return conv(x, params["mask"])

  stays = ["a:0", "a:1", "mask:0", "mask:1"]
  groups = assert_shrinks(
    apply_fn, randomised(shapes), numbers(2, 4, 4, 3), stays=stays
  )
  sizes = {tuple(group.members): group.size for group in groups.groups}
  assert sizes[("a", 3), ("ab", 0), ("mask", 2)] == 6


def test_channels_first():
  shapes = {"a": (6, 3, 3, 3), "b": (2, 6, 3, 3)}

  def apply_fn(params, x):
    hidden = lax.conv(x, params["a"], (1, 1), "SAME")
    return lax.conv(jax.nn.relu(hidden), params["b"], (2, 2), "VALID")

  stays = [f"{name}:{axis}" for name in "ab" for axis in (2, 3)] + ["b:0"]
  assert_shrinks(apply_fn, randomised(shapes), numbers(2, 3, 5, 5), stays=stays)


def test_transposed_and_dilated():
  shapes = {"a": (3, 3, 3, 6), "b": (2, 2, 6, 4), "c": (3, 3, 4, 1)}

  def apply_fn(params, x):
    x = jax.nn.relu(conv(x, params["a"], 2))
    x = lax.conv_transpose(x, params["b"], (2, 2), "SAME")
    return lax.conv_general_dilated(
      x,
      params["c"],
      (1, 1),
      "SAME",
      rhs_dilation=(2, 2),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

  stays = [f"{name}:{axis}" for name in "abc" for axis in (0, 1)]
  assert_shrinks(apply_fn, randomised(shapes), numbers(2, 6, 6, 3), stays=stays)


def test_upsampling_and_squeeze_and_excitation():
  shapes = {"a": (3, 3, 3, 6), "down": (6, 4), "up": (4, 6), "b": (3, 3, 6, 2)}

  def apply_fn(params, x):
    x = jax.nn.relu(conv(x, params["a"]))
    squeezed = jax.nn.relu(x.mean((1, 2)) @ params["down"])
    x = x * jax.nn.sigmoid(squeezed @ params["up"])[:, None, None]
    x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
    return conv(x, params["b"])

  # A gate that is 1/2 does not matter where what it lets through is zero.
  stays = [f"{name}:{axis}" for name in "ab" for axis in (0, 1)] + ["b:3"]
  assert_shrinks(apply_fn, randomised(shapes), numbers(2, 4, 4, 3), stays=stays)


def test_a_constant_channel_is_exact_at_the_border():
  shapes = {"a": (3, 3, 3, 4), "ab": (4,), "b": (3, 3, 4, 2)}
  params, x = randomised(shapes), numbers(2, 5, 5, 3)
  params["a"] = params["a"].at[..., 1].set(0)
  params["ab"] = jnp.array([0.3, 0.7, -0.2, 0.1])

  def apply_fn(params, x):
    return conv(jax.nn.relu(conv(x, params["a"]) + params["ab"]), params["b"])

  small = gsm_optax.shrink(apply_fn, params, x)
  assert small.params["b"].shape == (3, 3, 3, 2)
  assert small.constants == 1
  larger = np.concatenate([x, 2 * x])
  assert_close(small.apply_fn(small.params, larger), apply_fn(params, larger))
