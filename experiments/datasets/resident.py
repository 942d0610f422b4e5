"""Data sets that lie in memory as a whole."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.datasets.dataset import DataError, own_part


class ResidentBatches:
  """The batches of one epoch of a `Resident`.

  Args:
    images: (n, height, width, channels).
    labels: int32 (n,).
    order: int32 (steps, batch): the indices of the images of each batch.
    taken: how many batches are behind.
  """

  def __init__(
    self, images: np.ndarray, labels: np.ndarray, order: np.ndarray, taken: int
  ):
    self._images = images
    self._labels = labels
    self._order = order
    self._taken = taken

  def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches that have not been taken: images and int32 labels (batch,)."""
    while self._taken < len(self._order):
      chosen = self._order[self._taken]
      self._taken += 1
      yield self._images[chosen], self._labels[chosen]

  def position(self) -> int:
    """How many batches of the epoch have been taken."""
    return self._taken


# Compared by identity: arrays have no one truth value.
@dataclasses.dataclass(frozen=True, eq=False)
class Resident:
  """A data set in memory.

  Attributes:
    train_images: (n, height, width, channels), float32 or uint8.
    train_labels: int32 (n,).
    test_images: (m, height, width, channels), of the same kind.
    test_labels: int32 (m,).
    num_classes: labels are below.
    standardise: mean and standard deviation of each channel, of pixels from 0 to 1,
      for images that are stored as 0 to 255. ``None``: images are used as stored.
  """

  train_images: np.ndarray
  train_labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray
  num_classes: int
  standardise: tuple[Sequence[float], Sequence[float]] | None = None

  def __post_init__(self):
    """Raises a DataError for arrays that no network could be trained on."""
    for part in ("train", "test"):
      images = getattr(self, f"{part}_images")
      labels = getattr(self, f"{part}_labels")
      if np.ndim(images) != 4 or len(images) != len(labels):
        raise DataError(
          f"The {part} images must be (n, height, width, channels) with n labels, not"
          f" {np.shape(images)} with {len(labels)}."
        )
      if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
        raise DataError(
          f"The {part} labels must be from 0 to {self.num_classes - 1}, not from"
          f" {labels.min()} to {labels.max()}."
        )
      if images.dtype == np.uint8 and self.standardise is None:
        raise DataError(
          "Images of whole numbers from 0 to 255 need `standardise`: the mean and the"
          " standard deviation of each channel, of pixels from 0 to 1."
        )

  @property
  def image_shape(self) -> tuple[int, ...]:
    """Height, width and channels."""
    return self.train_images.shape[1:]

  @property
  def train_size(self) -> int:
    """Number of training images."""
    return len(self.train_labels)

  @property
  def test_size(self) -> int:
    """Number of test images."""
    return len(self.test_labels)

  def order(self, key: jax.Array, batch_size: int) -> jax.Array:
    """The training images of each batch of an epoch: int32 (steps, batch_size).

    Also inside jit: so an epoch can be drawn on the device. Images that are left over
    by whole batches are not in it; they are others with another key.

    Args:
      key: scalar key.
      batch_size: images per batch, over all processes.
    """
    steps = self.train_size // batch_size
    order = jax.random.permutation(key, self.train_size)[: steps * batch_size]
    return order.astype(jnp.int32).reshape(steps, batch_size)

  def epoch(
    self, key: jax.Array, batch_size: int, position: int | None = None
  ) -> ResidentBatches:
    """This process's part of the batches of an epoch, in the order of `order`.

    Args:
      key: scalar key.
      batch_size: images per batch, over all processes.
      position: how many batches have been taken; what `ResidentBatches.position` gave.
    """
    order = np.asarray(self.order(key, batch_size))[:, own_part(batch_size)]
    return ResidentBatches(self.train_images, self.train_labels, order, position or 0)

  def test(self, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """This process's part of the test images, once, in batches of one size.

    The last batch is filled up with images of zeros, whose label is -1.

    Args:
      batch_size: images per batch, over all processes.
    """
    own = own_part(batch_size)
    for start in range(0, self.test_size, batch_size):
      images = self.test_images[start : start + batch_size]
      labels = self.test_labels[start : start + batch_size]
      lacking = batch_size - len(labels)
      if lacking:
        images, labels = (
          np.pad(array, [(0, lacking), *[(0, 0)] * (array.ndim - 1)], constant_values=x)
          for array, x in ((images, 0), (labels, -1))
        )
      yield images[own], labels[own]

  def prepare(self, images: jax.Array) -> jax.Array:
    """Inside jit: what a network gets for stored images (batch, height, width, c)."""
    if self.standardise is None:
      return images
    mean, std = (jnp.asarray(values, jnp.float32) for values in self.standardise)
    return (images.astype(jnp.float32) / 255 - mean) / std


def hold_out(data: Resident, n: int) -> Resident:
  """The data with `n` training images in the test images' place, always the same ones.

  To choose a recipe by: the test images are for what was chosen.

  Args:
    data: any data set in memory.
    n: how many; 0 leaves the data as they are.

  Raises:
    DataError: if there are not enough training images.
  """
  if n == 0:
    return data
  if not 0 < n < data.train_size:
    raise DataError(
      f"There are {data.train_size} training images: {n} cannot be held out."
    )
  order = np.random.default_rng(0).permutation(data.train_size)
  test, train = order[:n], order[n:]
  images, labels = data.train_images, data.train_labels
  return dataclasses.replace(
    data,
    train_images=images[train],
    train_labels=labels[train],
    test_images=images[test],
    test_labels=labels[test],
  )
