"""ImageNet, or any folder of JPEGs by class, streamed from disk.

    FOLDER/train/CLASS/*.JPEG
    FOLDER/val/CLASS/*.JPEG

Worker processes read whole batches. What a batch holds follows from the key of its
epoch and from its number: not from how many workers there are, how many processes share
it, or where an interrupted run began again. So the position in an epoch is just the
number of batches taken; Grain's own, which has a part for every worker, means nothing
to another number of workers or processes.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.datasets._folder import LAYOUT, Images, list_images
from experiments.datasets._jpeg import central_crop, random_crop
from experiments.datasets.dataset import DataError, Dataset, own_part

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, between 0 and 1, as everyone rounds them."""
MOST_WORKERS = 16


def load(
  data_dir: Path | None,
  held_out: int = 0,
  *,
  size: int = 224,
  workers: int | None = None,
) -> Dataset:
  """The images of a folder; they are listed now and read when they are asked for.

  Args:
    data_dir: the folder that holds ``train`` and ``val``.
    held_out: 0, or how many training images take the test images' place, always the
      same ones.
    size: pixels along each side of what a network gets.
    workers: processes that read images, besides this one; 0: this one does.
      ``None``: one for every core but one, at most `MOST_WORKERS`.

  Raises:
    DataError: in one sentence, for a folder that is not like this.
  """
  if data_dir is None:
    raise DataError(
      f"ImageNet cannot be downloaded without an account at image-net.org: {LAYOUT}."
    )
  if size < 1 or (workers is not None and workers < 0):
    raise DataError(
      f"The size must be at least 1, and workers 0 or more, not {size} and {workers}."
    )
  train = list_images(data_dir / "train")
  if not held_out:
    test = list_images(data_dir / "val")
    if test.classes != train.classes:
      name = min(set(test.classes) ^ set(train.classes))
      there, missing = ("val", "train") if name in test.classes else ("train", "val")
      raise DataError(
        f"{data_dir / there} has a class {name}, and {data_dir / missing} has none:"
        " both must have the same ones."
      )
  elif held_out < len(train):
    order = np.random.default_rng(0).permutation(len(train))
    test, train = train.take(order[:held_out]), train.take(order[held_out:])
  else:
    raise DataError(
      f"There are {len(train)} training images: {held_out} cannot be held out."
    )
  return ImageNet(train, test, size, _default_workers() if workers is None else workers)


def _default_workers() -> int:
  has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS
  cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
  return min(cores - 1, MOST_WORKERS)


@dataclass(frozen=True)
class ReadShare:
  """Reads this process's images of a batch.

  Attributes:
    images: all there are.
    size: pixels along each side of what is cut out of them.
    share: which places in a batch are this process's.
    seed: of random crops; ``None``: central ones.
  """

  images: Images
  size: int
  share: slice
  seed: int | None

  def __call__(self, batch: int, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images (share, size, size, 3) in uint8, and int32 labels (share,).

    Args:
      batch: number of the batch in its epoch.
      numbers: integers of shape (batch_size,): which images. Those from n on are
        padding, which is black and has the label -1.
    """
    places = range(len(numbers))[self.share]
    pixels = np.zeros((len(places), self.size, self.size, 3), np.uint8)
    labels = np.full(len(places), -1, np.int32)
    for row, place in enumerate(places):
      number = int(numbers[place])
      if number < len(self.images):
        pixels[row] = self._read(number, batch * len(numbers) + place)
        labels[row] = self.images.labels[number]
    return pixels, labels

  def _read(self, number: int, index: int) -> np.ndarray:
    path = self.images.path(number)
    if self.seed is None:
      return central_crop(path, self.size)
    return random_crop(path, self.size, np.random.default_rng((self.seed, index)))


class Stream:
  """The batches of one epoch, read ahead by workers; the position is a number of them.

  Args:
    batches: all batches of the epoch, each read when it is indexed.
    taken: how many were taken before.
    workers: processes that read them.
  """

  def __init__(self, batches: grain.MapDataset[Any], taken: int, workers: int):
    self._batches = batches
    self._taken = taken
    self._workers = workers

  def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    left = self._batches[self._taken :]
    # Grain 0.2.18 asks its flags when it starts a worker, and fails where nobody has
    # parsed any: https://github.com/google/grain/issues/1355.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
    # Threads, by default, would read 500 batches ahead in each process.
    no_threads = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    workers = grain.MultiprocessingOptions(min(self._workers, len(left)))
    stream = left.to_iter_dataset(no_threads).mp_prefetch(workers)
    # Workers end when all is read, and when nobody wants the rest.
    with contextlib.closing(iter(stream)) as batches:
      try:
        for batch in batches:
          self._taken += 1
          yield batch
      except RuntimeError as error:  # files that cannot be read are DataErrors already
        raise DataError(
          f"A process that reads images has failed ({error}): if it was killed for want"
          " of memory, also of that in /dev/shm, use fewer workers."
        ) from error

  def position(self) -> int:
    """How many batches were taken."""
    return self._taken


class ImageNet:
  """A `Dataset` of files; see `load`."""

  def __init__(self, train: Images, test: Images, size: int, workers: int):
    self.image_shape: tuple[int, int, int] = (size, size, 3)
    self.num_classes = len(train.classes)
    self.train_size = len(train)
    self.test_size = len(test)
    self._train = train
    self._test = test
    self._workers = workers

  def epoch(
    self, key: jax.Array, batch_size: int, position: int | None = None
  ) -> Stream:
    """All training images once, cropped at random; see `Dataset.epoch`."""
    seed = int(jax.random.bits(key, dtype=jnp.uint32))
    numbers = grain.MapDataset.range(self.train_size).shuffle(seed)
    batches = numbers.batch(batch_size, drop_remainder=True)
    read = ReadShare(self._train, self.image_shape[0], own_part(batch_size), seed)
    return Stream(batches.map_with_index(read), position or 0, self._workers)

  def test(self, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All test images once, their centres, in batches of one size."""
    padded = math.ceil(self.test_size / batch_size) * batch_size
    batches = grain.MapDataset.range(padded).batch(batch_size)
    read = ReadShare(self._test, self.image_shape[0], own_part(batch_size), seed=None)
    return iter(Stream(batches.map_with_index(read), 0, self._workers))

  def prepare(self, images: jax.Array) -> jax.Array:
    """Inside jit: standardised pixels, float32, of uint8 ones."""
    mean, std = jnp.array(MEAN, jnp.float32), jnp.array(STD, jnp.float32)
    return (images.astype(jnp.float32) / 255 - mean) / std
