"""MNIST, from its four IDX files."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.datasets._download import download
from experiments.datasets._files import (
  DataFile,
  check_content,
  data_folder,
  locate,
  locate_all,
  read_bounded,
  refusal,
)
from experiments.datasets.resident import Resident, hold_out


class IdxFile(NamedTuple):
  """A file of MNIST: its name, MD5 unzipped and zipped, and shape."""

  name: str
  md5: str
  zipped_md5: str
  shape: tuple[int, ...]

  @property
  def header(self) -> int:
    """Length of the header in bytes."""
    return 4 + 4 * len(self.shape)

  @property
  def file(self) -> DataFile:
    """The file as one of bytes."""
    size = self.header + int(np.prod(self.shape))
    return DataFile("MNIST", self.name, self.md5, size)


FILES = (
  IdxFile(
    "train-images-idx3-ubyte",
    "6bbc9ace898e44ae57da46a324031adb",
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    (60000, 28, 28),
  ),
  IdxFile(
    "train-labels-idx1-ubyte",
    "a25bea736e30d166cdddb491f175f624",
    "d53e105ee54ea40749a09fcbcd1e9432",
    (60000,),
  ),
  IdxFile(
    "t10k-images-idx3-ubyte",
    "2646ac647ad5339dbf082846283269ea",
    "9fb629c4189551a2d022fa330f9573f3",
    (10000, 28, 28),
  ),
  IdxFile(
    "t10k-labels-idx1-ubyte",
    "27ae3e4e09519cfbb04c329615203637",
    "ec29112dd5afa0611ce80d1b7f02629c",
    (10000,),
  ),
)
URLS = (
  "https://ossci-datasets.s3.amazonaws.com/mnist/",
  "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# The mean and standard deviation of MNIST's training pixels, as everyone rounds them.
MEAN, STD = 0.1307, 0.3081


def load(data_dir: Path | None = None, held_out: int = 0) -> Resident:
  """MNIST, see `mnist`.

  Args:
    data_dir: folder of the files; ``None``: the user's cache.
    held_out: how many training images take the test images' place.

  Raises:
    DataError: for files that are missing or not MNIST's.
  """
  return hold_out(mnist(data_dir), held_out)


def mnist(
  data_dir: Path | None = None,
  *,
  urls: Sequence[str] = URLS,
  files: Sequence[IdxFile] = FILES,
) -> Resident:
  """MNIST: 60,000 + 10,000 digits of 28×28, standardised by the training images.

  Args:
    data_dir: folder of the four standard IDX files, plain or gzipped. ``None``: the
      user's cache, into which the files are downloaded if they are not there.
    urls: where to download from, in the order in which to try.
    files: what to read: training images and labels, test images and labels.

  Raises:
    DataError: for files that are missing, truncated or not MNIST's.
  """
  folder = data_folder(data_dir, "mnist")
  if data_dir is None:
    zipped = [f"{file.name}.gz" for file in files]
    for file, name in zip(files, zipped, strict=True):
      if locate([folder], file.file) is None:
        sources = [f"{url}{name}" for url in urls]
        download(sources, file.zipped_md5, folder, "MNIST", zipped)
  paths = locate_all([folder], [file.file for file in files])
  train_images, train_labels, test_images, test_labels = map(read_idx, paths, files)
  return Resident(
    _standardised(train_images),
    train_labels.astype(np.int32),
    _standardised(test_images),
    test_labels.astype(np.int32),
    10,
  )


def _standardised(images: np.ndarray) -> np.ndarray:
  """Float32 (n, 28, 28, 1) from uint8 (n, 28, 28)."""
  pixels = images[..., None] / np.float32(255)
  return (pixels - np.float32(MEAN)) / np.float32(STD)


def read_idx(path: Path, expected: IdxFile) -> np.ndarray:
  """The uint8 array in an IDX file, plain or gzipped, checked against `expected`.

  Raises:
    DataError: if it is truncated, of another kind or shape, or has other content.
  """
  file, dimensions = expected.file, len(expected.shape)
  content = read_bounded(path, file)
  # Two zero bytes, the type (8: uint8), the number of dimensions; then each dimension.
  magic = bytes([0, 0, 8, dimensions])
  if content[:4] != magic:
    raise refusal(
      path,
      file,
      f"does not begin with {magic.hex()}, the magic number of an IDX file of"
      f" {dimensions} dimensions, but with {content[:4].hex() or 'nothing'}",
    )
  if len(content) < expected.header:
    raise refusal(path, file, "is truncated")
  shape = struct.unpack(f">{dimensions}I", content[4 : expected.header])
  if shape != expected.shape:
    problem = f"holds an array of shape {shape} instead of {expected.shape}"
    raise refusal(path, file, problem)
  check_content(path, file, content)
  return np.frombuffer(content, np.uint8, offset=expected.header).reshape(shape)
