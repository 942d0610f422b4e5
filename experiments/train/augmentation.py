"""Training images, changed at random, each anew at every step.

An augmentation is a function ``(key, images) -> images`` of one shape and dtype, and a
dataclass, so that a recipe can name it with its numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp


class Augmentation(ABC):
  """What changes images of shape (n, height, width, channels)."""

  @abstractmethod
  def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
    """Images of the same shape and dtype."""


@dataclass(frozen=True)
class Shift(Augmentation):
  """Moves each image by up to `most` pixels along both axes; its edges are repeated."""

  most: int

  def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
    """The moved images."""
    number, height, width, _ = images.shape
    down, right = jax.random.randint(key, (2, number, 1), -self.most, self.most + 1)
    rows = jnp.clip(jnp.arange(height) - down, 0, height - 1)
    columns = jnp.clip(jnp.arange(width) - right, 0, width - 1)
    return _taken(images, rows, columns)


@dataclass(frozen=True)
class Crop(Augmentation):
  """Cuts each image at a random place out of itself, padded by zeros all around."""

  padding: int

  def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
    """The cut images."""
    number, height, width, _ = images.shape
    p = self.padding
    padded = jnp.pad(images, [(0, 0), (p, p), (p, p), (0, 0)])
    down, right = jax.random.randint(key, (2, number, 1), 0, 2 * p + 1)
    return _taken(padded, jnp.arange(height) + down, jnp.arange(width) + right)


@dataclass(frozen=True)
class Flip(Augmentation):
  """Mirrors each image from left to right with a chance of one half."""

  def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
    """Some of the images mirrored."""
    chosen = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
    return jnp.where(chosen, images[:, :, ::-1], images)


def augment(
  augmentations: Sequence[Augmentation], key: jax.Array, images: jax.Array
) -> jax.Array:
  """The images after all augmentations, in their order."""
  # A single one gets the key as it is, as when there was but one.
  keys = [key]
  if len(augmentations) > 1:
    keys = list(jax.random.split(key, len(augmentations)))
  for augmentation, own_key in zip(augmentations, keys, strict=False):
    images = augmentation(own_key, images)
  return images


def _taken(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
  """Some rows (n, height) and columns (n, width) of each image.

  One gather, which a CPU does much faster than cutting a slice from each image.
  """
  number = jnp.arange(images.shape[0])[:, None, None]
  return images[number, rows[:, :, None], columns[:, None]]
