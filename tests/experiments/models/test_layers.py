"""A convolution as a matrix product is a convolution."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.models.layers import ConvMaxPool, conv_max_pool, max_pool


@pytest.mark.parametrize("width", [12, 10])  # in tiles, and in one piece
def test_a_pooled_convolution_is_one_with_the_same_gradients(width):
  conv = ConvMaxPool(3, 7, (5, 3), padding="VALID", rngs=nnx.Rngs(0))
  images = jax.random.normal(jax.random.key(1), (2, 12, width + 2, 3))

  def reference(images, kernel):
    dimensions = ("NHWC", "HWIO", "NHWC")
    outputs = jax.lax.conv_general_dilated(
      images, kernel, (1, 1), "VALID", dimension_numbers=dimensions
    )
    return nnx.max_pool(outputs, (2, 2), strides=(2, 2))

  kernel = conv.kernel[...]
  expected, expected_vjp = jax.vjp(reference, images, kernel)
  actual, vjp = jax.vjp(conv_max_pool, images, kernel)
  np.testing.assert_allclose(actual, expected, atol=1e-5)
  cotangent = jax.random.normal(jax.random.key(2), actual.shape)
  jax.tree.map(
    partial(np.testing.assert_allclose, atol=1e-4),
    vjp(cotangent),
    expected_vjp(cotangent),
  )
  conv.bias[...] = jnp.arange(7.0)
  np.testing.assert_allclose(conv(images), expected + jnp.arange(7.0), atol=1e-5)


def test_among_equals_only_the_first_gets_the_gradient():
  blank = jnp.ones((1, 6, 6, 1))
  gradient = jax.grad(
    lambda images: conv_max_pool(images, jnp.ones((1, 1, 1, 1))).sum()
  )
  np.testing.assert_array_equal(
    gradient(blank)[0, :, :, 0], np.tile([[1, 0], [0, 0]], (3, 3))
  )


def test_max_pool_takes_the_greatest_of_each_square():
  images = jax.random.normal(jax.random.key(0), (2, 4, 6, 3))
  np.testing.assert_array_equal(
    max_pool(images), nnx.max_pool(images, (2, 2), strides=(2, 2))
  )
