"""Models have the sizes of the paper, and are pure functions of their parameters."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gsm_optax
from experiments.models import LeNet5, LeNet300, from_nnx
from experiments.models.layers import ConvMaxPool, conv_max_pool, max_pool


@pytest.mark.parametrize(("make", "size"), [(LeNet300, 266_200), (LeNet5, 430_500)])
def test_prunable_weights_are_as_many_as_in_the_paper(make, size):
  model = from_nnx(lambda rngs: make((28, 28, 1), 10, rngs))
  params, _ = model.init(jax.random.key(0))
  assert gsm_optax.sparsity_report(params).size == size
  logits, _ = model.apply(params, {}, jnp.ones((3, 28, 28, 1)), False)
  assert logits.shape == (3, 10)


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


class Normalised(nnx.Module):
  def __init__(self, rngs):
    self.dense = nnx.Linear(4, 3, rngs=rngs)
    self.norm = nnx.BatchNorm(3, momentum=0.5, rngs=rngs)

  def __call__(self, images):
    return self.norm(self.dense(images))


def test_batch_statistics_change_in_training_and_only_there():
  model = from_nnx(Normalised)
  params, stats = model.init(jax.random.key(0))
  images = 1 + jax.random.normal(jax.random.key(1), (16, 4))
  logits, trained = model.apply(params, stats, images, True)
  np.testing.assert_allclose(logits.mean(0), 0, atol=1e-5)
  assert not np.allclose(trained["norm"]["mean"], stats["norm"]["mean"])
  _, evaluated = model.apply(params, trained, images, False)
  jax.tree.map(np.testing.assert_array_equal, evaluated, trained)
