"""Training images, changed at random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.train.augmentation import Augmentation, Crop, Flip, Shift, augment

IMAGES = jax.random.normal(jax.random.key(0), (500, 6, 5, 2))
KEY = jax.random.key(1)


def windows_found(result, padding, mode):
  """How often each window of each padded image is what it became, by NumPy."""
  padded = np.pad(
    np.asarray(IMAGES), [(0, 0), *[(padding, padding)] * 2, (0, 0)], mode=mode
  )
  places = range(2 * padding + 1)
  counts = np.zeros((len(places), len(places)), int)
  for image, original in zip(np.asarray(result), padded, strict=True):
    fits = [
      (row, column)
      for row in places
      for column in places
      if np.array_equal(image, original[row : row + 6, column : column + 5])
    ]
    assert len(fits) == 1
    counts[fits[0]] += 1
  return counts


@pytest.mark.parametrize(
  ("augmentation", "mode"), [(Shift, "edge"), (Crop, "constant")]
)
def test_each_image_is_moved_by_itself_and_every_window_occurs(augmentation, mode):
  counts = windows_found(augmentation(2)(KEY, IMAGES), 2, mode)
  # 20 of each are expected.
  assert counts.min() >= 5
  assert counts.sum() == 500


@pytest.mark.parametrize("augmentation", [Shift(0), Crop(0)])
def test_a_move_by_nothing_changes_nothing(augmentation):
  np.testing.assert_array_equal(augmentation(KEY, IMAGES), IMAGES)


def test_about_half_of_the_images_are_flipped_as_a_whole():
  flipped = np.asarray(Flip()(KEY, IMAGES))
  mirrored = np.asarray(IMAGES)[:, :, ::-1]
  changed = [
    np.array_equal(image, mirror)
    for image, mirror in zip(flipped, mirrored, strict=True)
  ]
  same = [
    np.array_equal(image, original)
    for image, original in zip(flipped, np.asarray(IMAGES), strict=True)
  ]
  assert [not each for each in changed] == same
  # 250 are expected, with a standard deviation of 11.
  assert 200 <= sum(changed) <= 300


@pytest.mark.parametrize("augmentation", [Shift(1), Crop(2), Flip()])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.uint8])
@pytest.mark.parametrize("jitted", [False, True])
def test_the_shape_and_the_dtype_of_the_images_stay(augmentation, dtype, jitted):
  images = (100 + 20 * IMAGES).astype(dtype)
  result = (jax.jit(augmentation) if jitted else augmentation)(KEY, images)
  assert (result.dtype, result.shape) == (dtype, IMAGES.shape)
  assert set(np.unique(result)) <= {*np.unique(images), 0}
  assert (result != images).any()


def recording(keys):
  class Recording(Augmentation):
    def __call__(self, key, images):
      keys.append(jax.random.key_data(key).tolist())
      return images + 1

  return Recording()


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_each_augmentation_has_a_key_of_its_own(number):
  keys = []
  result = augment([recording(keys)] * number, KEY, IMAGES)
  np.testing.assert_allclose(result, IMAGES + number, rtol=1e-6)
  own = jax.random.key_data(KEY).tolist()
  if number == 1:
    assert keys == [own]
  else:
    assert len({tuple(key) for key in [own, *keys]}) == number + 1


def test_one_augmentation_is_done_with_the_key_as_it_is():
  np.testing.assert_array_equal(augment([Crop(2)], KEY, IMAGES), Crop(2)(KEY, IMAGES))


def test_augmentations_are_done_in_their_order():
  def times_two(_, images):
    return 2 * images

  def plus_one(_, images):
    return images + 1

  assert augment([times_two, plus_one], KEY, jnp.float32(3)) == 7
  assert augment([plus_one, times_two], KEY, jnp.float32(3)) == 8
