"""Models have the sizes of the paper, and are pure functions of their parameters."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gsm_optax
from experiments.benchmarks.trees import shapes_of
from experiments.models import LeNet5, LeNet300, ResNet20, ResNet50, from_nnx
from experiments.models.layers import ConvMaxPool, conv_max_pool, max_pool


@pytest.mark.parametrize(("make", "size"), [(LeNet300, 266_200), (LeNet5, 430_500)])
def test_prunable_weights_are_as_many_as_in_the_paper(make, size):
  model = from_nnx(lambda rngs: make((28, 28, 1), 10, rngs))
  params, _ = model.init(jax.random.key(0))
  assert gsm_optax.sparsity_report(params).size == size
  logits, _ = model.apply(params, {}, jnp.ones((3, 28, 28, 1)), False)
  assert logits.shape == (3, 10)


def test_resnet50_has_the_parameters_of_the_published_one():
  model = from_nnx(lambda rngs: ResNet50((224, 224, 3), 1000, rngs))
  params, batch_stats = jax.eval_shape(model.init, jax.random.key(0))
  leaves = jax.tree.leaves(params)
  kernels = [leaf for leaf in leaves if leaf.ndim > 1]
  assert sum(leaf.size for leaf in leaves) == 25_557_032
  assert sum(leaf.size for leaf in kernels) == 25_502_912
  assert sorted(leaf.shape for leaf in kernels) == sorted(shapes_of("resnet50"))
  images = jnp.ones((2, 224, 224, 3))
  apply = partial(model.apply, train=True)
  logits, trained = jax.eval_shape(apply, params, batch_stats, images)
  assert (logits.shape, logits.dtype) == ((2, 1000), jnp.float32)
  assert jax.tree.structure(trained) == jax.tree.structure(batch_stats)


def test_resnet50_computes_in_bfloat16_and_keeps_float32():
  make = partial(ResNet50, (32, 32, 3), 10, dtype=jnp.bfloat16)
  model = from_nnx(lambda rngs: make(rngs=rngs))
  params, batch_stats = jax.eval_shape(model.init, jax.random.key(0))
  assert {leaf.dtype for leaf in jax.tree.leaves((params, batch_stats))} == {
    jnp.dtype("float32")
  }

  def loss(params, batch_stats, images):
    return model.apply(params, batch_stats, images, True)[0].mean()

  images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
  gradients = jax.eval_shape(jax.grad(loss), params, batch_stats, images)
  assert gradients["conv"]["kernel"].dtype == jnp.float32


def test_shapes_of_resnet56_are_those_of_a_resnet20_with_more_blocks():
  model = from_nnx(lambda rngs: ResNet20((32, 32, 3), 10, rngs))
  params, _ = jax.eval_shape(model.init, jax.random.key(0))
  shapes = {leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim > 1}
  assert set(shapes_of("resnet56")) == shapes
  assert len(shapes_of("resnet56")) == 56
  assert sum(math.prod(shape) for shape in shapes_of("resnet56")) == 848_944


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
