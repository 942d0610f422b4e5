"""Training images, changed at random."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.augmentation import shifted

IMAGES = jax.random.normal(jax.random.key(0), (500, 6, 5, 2))
KEY = jax.random.key(1)


def moved(image, down, right):
  """One image by NumPy: padded with its edges, then cut out."""
  padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
  return padded[2 - down : 8 - down, 2 - right : 7 - right]


def test_each_image_is_moved_by_itself_and_every_shift_occurs():
  result = np.asarray(shifted(KEY, IMAGES, 2))
  counts = np.zeros((5, 5), int)
  for image, original in zip(result, np.asarray(IMAGES), strict=True):
    fits = [
      (down, right)
      for down in range(-2, 3)
      for right in range(-2, 3)
      if np.array_equal(image, moved(original, down, right))
    ]
    assert len(fits) == 1
    counts[fits[0][0] + 2, fits[0][1] + 2] += 1
  # 20 of each are expected.
  assert counts.min() >= 5


def test_a_shift_of_nothing_changes_nothing():
  np.testing.assert_array_equal(shifted(KEY, IMAGES, 0), IMAGES)


def test_the_dtype_of_the_images_stays():
  assert shifted(KEY, IMAGES.astype(jnp.bfloat16), 1).dtype == jnp.bfloat16
