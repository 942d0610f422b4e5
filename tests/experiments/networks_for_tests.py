"""Small networks and data for the tests of training."""

import math

import numpy as np
from flax import nnx

from experiments.datasets.resident import Resident
from experiments.models import from_nnx

SHAPE, CLASSES = (4, 3, 2), 3


class Dense(nnx.Module):
  """One layer."""

  def __init__(self, rngs):
    self.dense = nnx.Linear(math.prod(SHAPE), CLASSES, rngs=rngs)

  def __call__(self, images):
    return self.dense(images.reshape(len(images), -1))


class Normalised(nnx.Module):
  """A convolution, BatchNorm, and a layer on the means of its features."""

  def __init__(self, rngs):
    self.conv = nnx.Conv(SHAPE[-1], 4, (3, 3), rngs=rngs)
    self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
    self.dense = nnx.Linear(4, CLASSES, rngs=rngs)

  def __call__(self, images):
    return self.dense(nnx.relu(self.norm(self.conv(images))).mean(axis=(1, 2)))


DENSE, NORMALISED = from_nnx(Dense), from_nnx(Normalised)


def random_data(train=23, test=7):
  """Images of noise, whose labels say what is brightest in their first pixels."""
  rng = np.random.default_rng(0)
  images = rng.normal(size=(train + test, *SHAPE)).astype(np.float32)
  labels = images[:, 0, :, 0].argmax(axis=-1).astype(np.int32)
  return Resident(images[:train], labels[:train], images[train:], labels[train:], 3)
