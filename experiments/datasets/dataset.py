"""What training asks of a data set, and what its modules raise."""

from collections.abc import Iterator
from typing import Protocol

import jax
import numpy as np

ArrayLike = np.ndarray | jax.Array


class DataError(Exception):
  """The data cannot be had; the message says what to do."""


def own_part(batch_size: int) -> slice:
  """Which images of a batch are this process's.

  Raises:
    DataError: if a batch cannot be split evenly over the processes.
  """
  processes = jax.process_count()
  if batch_size % processes:
    raise DataError(
      f"A batch of {batch_size} images cannot be split evenly over {processes}"
      " processes: choose a multiple of their number."
    )
  part = batch_size // processes
  return slice(jax.process_index() * part, (jax.process_index() + 1) * part)


class Batches(Protocol):
  """The batches of one epoch, in order."""

  def __iter__(self) -> Iterator[tuple[ArrayLike, ArrayLike]]:
    """Images (batch, height, width, channels) and int32 labels (batch,).

    Texts are (batch, length), with a label at each place.
    """
    ...

  def position(self) -> int:
    """How many batches of the epoch were taken."""
    ...


class Dataset(Protocol):
  """Images and labels, resident in memory or streamed.

  With several processes each takes its own part of every batch: a batch has
  ``batch_size / jax.process_count()`` images in each of them.
  """

  @property
  def image_shape(self) -> tuple[int, ...]:
    """Height, width and channels of what a network gets; of texts the length alone."""
    ...

  @property
  def num_classes(self) -> int:
    """Labels are below."""
    ...

  @property
  def train_size(self) -> int:
    """Number of training images."""
    ...

  @property
  def test_size(self) -> int:
    """Number of test images."""
    ...

  def epoch(
    self, key: jax.Array, batch_size: int, position: int | None = None
  ) -> Batches:
    """All training images once, in an order that depends on the key alone.

    Those left over by whole batches are others in every epoch.

    Args:
      key: scalar key.
      batch_size: images per batch, over all processes.
      position: how many batches to leave out at its beginning.
    """
    ...

  def test(self, batch_size: int) -> Iterator[tuple[ArrayLike, ArrayLike]]:
    """All test images once, in batches of one size; padding has the label -1."""
    ...

  def prepare(self, images: jax.Array) -> jax.Array:
    """Inside jit, after augmentation: what a network gets for stored images."""
    ...
