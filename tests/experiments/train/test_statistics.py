"""BatchNorm's statistics after pruning are means over batches of training images."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsm_optax
from experiments.train.augmentation import Augmentation
from experiments.train.statistics import make_reestimate
from tests.experiments.networks_for_tests import DENSE, NORMALISED, random_data

DATA = random_data()


def means_by_jax(params, batches):
  """Of what comes out of the convolution: its mean and variance, over the batches."""
  kernel, bias = params["conv"]["kernel"], params["conv"]["bias"]
  moments = []
  for images, _ in batches:
    outputs = jax.lax.conv_general_dilated(
      images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    outputs = np.asarray(outputs + bias, np.float64)
    moments.append((outputs.mean((0, 1, 2)), outputs.var((0, 1, 2))))
  return np.mean(moments, axis=0)


@pytest.mark.parametrize(("batches", "taken"), [(1, 1), (3, 3), (100, 4)])
def test_they_are_means_over_the_batches_of_at_most_one_epoch(batches, taken):
  params, stats = NORMALISED.init(jax.random.key(0))
  # What was there before does not matter.
  stats = jax.tree.map(lambda leaf: leaf + 100, stats)
  pruned = gsm_optax.apply_mask(params, gsm_optax.magnitude_mask(params, 0.3))
  found = make_reestimate(NORMALISED, DATA, 5, batches=batches)(pruned, stats)
  epoch = list(DATA.epoch(jax.random.key(0), 5))[-taken:]
  mean, variance = means_by_jax(pruned, epoch)
  np.testing.assert_allclose(found["norm"]["mean"], mean, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(found["norm"]["var"], variance, rtol=1e-4, atol=1e-6)
  assert jax.tree.structure(found) == jax.tree.structure(stats)


def test_with_them_a_pruned_network_is_normalised_again():
  params, stats = NORMALISED.init(jax.random.key(0))
  again = make_reestimate(NORMALISED, DATA, 23)(params, stats)
  # One batch of all images: as in training, the logits are those of that batch.
  images = jnp.asarray(DATA.train_images)
  expected, _ = NORMALISED.apply(params, stats, images, True)
  logits, _ = NORMALISED.apply(params, again, images, False)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@dataclass(frozen=True)
class Brighter(Augmentation):
  """Adds one to all pixels."""

  def __call__(self, key, images):
    del key
    return images + 1


def test_images_are_augmented_as_in_training():
  params, stats = NORMALISED.init(jax.random.key(0))
  reestimate = make_reestimate(NORMALISED, DATA, 5, (Brighter(), Brighter()), 1)
  *_, (images, labels) = DATA.epoch(jax.random.key(0), 5)
  mean, _ = means_by_jax(params, [(images + 2, labels)])
  found = reestimate(params, stats)["norm"]["mean"]
  np.testing.assert_allclose(found, mean, rtol=1e-4, atol=1e-6)


def test_a_model_without_statistics_gets_its_own_back():
  params, stats = DENSE.init(jax.random.key(0))
  assert make_reestimate(DENSE, DATA, 5)(params, stats) is stats
