"""Models have the sizes of the paper, and are pure functions of their parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gsm_optax
from experiments.models import LeNet5, LeNet300, from_nnx
from experiments.models.layers import Conv, max_pool


@pytest.mark.parametrize(("make", "size"), [(LeNet300, 266_200), (LeNet5, 430_500)])
def test_prunable_weights_are_as_many_as_in_the_paper(make, size):
  model = from_nnx(lambda rngs: make((28, 28, 1), 10, rngs))
  params, _ = model.init(jax.random.key(0))
  assert gsm_optax.sparsity_report(params).size == size
  logits, _ = model.apply(params, {}, jnp.ones((3, 28, 28, 1)), False)
  assert logits.shape == (3, 10)


def test_patches_times_a_matrix_are_the_convolution():
  conv = Conv(3, 7, (5, 3), padding="VALID", rngs=nnx.Rngs(0))
  conv.bias[...] = jnp.arange(7.0)
  images = jax.random.normal(jax.random.key(1), (2, 11, 9, 3))
  np.testing.assert_allclose(conv(images), nnx.Conv.__call__(conv, images), atol=1e-5)


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
