"""What GSM's training images go through."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.augmentation import UNCHANGED, Augmentation

IMAGES = jax.random.normal(jax.random.key(0), (500, 6, 5, 2))
KEY = jax.random.key(1)


def moved(image, down, right):
  """One image by NumPy: padded with its edges, then cut out."""
  padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
  return padded[2 - down : 8 - down, 2 - right : 7 - right]


def test_by_default_images_stay_as_they_are():
  np.testing.assert_array_equal(UNCHANGED(KEY, IMAGES), IMAGES)


def test_each_image_is_moved_by_itself_and_every_shift_occurs():
  result = np.asarray(Augmentation(shift=2)(KEY, IMAGES))
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


def test_noise_has_its_standard_deviation_and_comes_after_the_shift():
  both = Augmentation(noise=0.5, shift=1)(KEY, IMAGES)
  noise = both - Augmentation(shift=1)(KEY, IMAGES)
  np.testing.assert_allclose(noise.std(), 0.5, rtol=0.03)
  np.testing.assert_allclose(noise.mean(), 0, atol=0.02)
  np.testing.assert_allclose(
    noise, Augmentation(noise=0.5)(KEY, IMAGES) - IMAGES, atol=1e-5
  )


def test_the_dtype_of_the_images_stays():
  images = IMAGES.astype(jnp.bfloat16)
  assert Augmentation(noise=0.5, shift=1)(KEY, images).dtype == images.dtype
