"""CIFAR-10, from its six binary files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.datasets._download import Archive, download, unpack
from experiments.datasets._files import (
  DataFile,
  check_content,
  data_folder,
  locate,
  locate_all,
  read_bounded,
  refusal,
)
from experiments.datasets.dataset import DataError
from experiments.datasets.resident import Resident, hold_out

# A label, then the red, the green and the blue pixels, each row by row.
RECORD = 1 + 3 * 32 * 32
FILES = tuple(
  DataFile("CIFAR-10", name, md5, 10000 * RECORD)
  for name, md5 in [
    ("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25"),
    ("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692"),
    ("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421"),
    ("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb"),
    ("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d"),
    ("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d"),
  ]
)
ARCHIVE = Archive(
  ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
  "c32a1d4ab5d03f1284b67883e8d87530",
  "cifar-10-batches-bin",
)
# Mean and standard deviation of the training pixels of each channel, as everyone
# rounds them.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
CLASSES = 10
SIZES = (1, 2, 4, 8, 16, 32)


def load(data_dir: Path | None = None, held_out: int = 0, size: int = 32) -> Resident:
  """CIFAR-10, see `cifar10`.

  Args:
    data_dir: folder of the files; ``None``: the user's cache.
    held_out: how many training images take the test images' place.
    size: height and width of the images, which divides 32.

  Raises:
    DataError: for another size, and for files that are missing or not CIFAR-10's.
  """
  return hold_out(cifar10(data_dir, size=size), held_out)


def cifar10(
  data_dir: Path | None = None,
  *,
  size: int = 32,
  archive: Archive = ARCHIVE,
  files: Sequence[DataFile] = FILES,
) -> Resident:
  """CIFAR-10: 50,000 + 10,000 photographs of 32×32 in ten classes, stored as uint8.

  Args:
    data_dir: folder of the six binary files, plain or gzipped, or of the folder of
      them that the archive holds. ``None``: the user's cache, into which the archive
      is downloaded and unpacked if they are not there.
    size: height and width; smaller images are averages over squares of pixels.
    archive: what to download.
    files: what to read: of the training images, and last that of the test images.

  Raises:
    DataError: for another size, and for files that are missing or not CIFAR-10's.
  """
  _check_size(size)
  folder = data_folder(data_dir, "cifar10")
  folders = [folder, folder / archive.inner]
  if data_dir is None and any(locate(folders, file) is None for file in files):
    _fetch(archive, files, folder)
  paths = locate_all(folders, files)
  parts = [read_batch(*found, size) for found in zip(paths, files, strict=True)]
  images, labels = zip(*parts, strict=True)
  return Resident(
    np.concatenate(images[:-1]),
    np.concatenate(labels[:-1]),
    images[-1],
    labels[-1],
    CLASSES,
    (MEAN, STD),
  )


def _check_size(size: object) -> None:
  if not isinstance(size, int) or size not in SIZES:
    *smaller, largest = map(str, SIZES)
    raise DataError(
      f"CIFAR-10's images can be made {', '.join(smaller)} or {largest} pixels wide,"
      f" the divisors of 32, not {size!r}."
    )


def _fetch(archive: Archive, files: Sequence[DataFile], folder: Path) -> None:
  names = [file.name for file in files]
  path = download(archive.urls, archive.md5, folder, "CIFAR-10", names)
  unpack(path, archive.inner, files, folder / archive.inner)
  path.unlink(missing_ok=True)  # 170 MB that have done their work


def read_batch(path: Path, file: DataFile, size: int) -> tuple[np.ndarray, np.ndarray]:
  """Images, uint8 (n, size, size, 3), and int32 labels (n,) of one checked file.

  Raises:
    DataError: if it is truncated, has other content or labels of no class.
  """
  content = read_bounded(path, file)
  check_content(path, file, content)
  records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
  labels = records[:, 0].astype(np.int32)
  if labels.max() >= CLASSES:
    problem = f"holds the label {labels.max()}, though there are {CLASSES} classes"
    raise refusal(path, file, problem)
  pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
  return averaged(np.ascontiguousarray(pixels), size), labels


def averaged(images: np.ndarray, size: int) -> np.ndarray:
  """Images (n, size, size, c): each pixel the rounded mean of a square of pixels.

  Args:
    images: uint8 (n, height, height, c).
    size: divides the height.
  """
  n, height, _, channels = images.shape
  if size == height:
    return images
  side = height // size
  squares = images.reshape(n, size, side, size, side, channels)
  sums = squares.sum((2, 4), dtype=np.uint32)
  return np.rint(sums / side**2).astype(np.uint8)
