"""Data sets from their standard files."""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import sklearn.datasets
import sklearn.model_selection


class DataError(Exception):
  """The data cannot be had; the message says what to do."""


class Dataset(NamedTuple):
  """Images, float32 of shape (n, height, width, channels), and int32 labels (n,)."""

  train_images: np.ndarray
  train_labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray
  num_classes: int


def load(name: str, data_dir: Path | None = None, held_out: int = 0) -> Dataset:
  """The data set `name`: from `data_dir`, or from where it lies by default.

  Args:
    name: ``"digits"`` or ``"mnist"``.
    data_dir: a folder of files.
    held_out: 0, or how many training images take the test images' place, always the
      same ones. To choose a recipe by: the test images are for what was chosen.

  Raises:
    DataError: in one sentence, for files that are missing or not what they should be.
  """
  data = digits() if name == "digits" else mnist(data_dir)
  if not held_out:
    return data
  size = len(data.train_labels)
  if held_out >= size:
    raise DataError(f"There are {size} training images: {held_out} cannot be held out.")
  order = np.random.default_rng(0).permutation(size)
  test, train = order[:held_out], order[held_out:]
  images, labels = data.train_images, data.train_labels
  return Dataset(
    images[train], labels[train], images[test], labels[test], data.num_classes
  )


def digits() -> Dataset:
  """scikit-learn's handwritten digits: 1,797 images of 8×8, 450 of them for testing.

  The split is fixed and holds the same share of every digit.
  """
  pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
  images = (np.asarray(pixels) / 16).astype(np.float32).reshape(-1, 8, 8, 1)
  labels = np.asarray(labels, np.int32)
  train, test = sklearn.model_selection.train_test_split(
    np.arange(len(labels)), test_size=450, stratify=labels, random_state=0
  )
  return Dataset(images[train], labels[train], images[test], labels[test], 10)


class IdxFile(NamedTuple):
  """A file of MNIST: its name, MD5 unzipped and zipped, and shape."""

  name: str
  md5: str
  zipped_md5: str
  shape: tuple[int, ...]


MNIST_FILES = (
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
MNIST_URLS = (
  "https://ossci-datasets.s3.amazonaws.com/mnist/",
  "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def mnist(
  data_dir: Path | None = None,
  *,
  urls: Sequence[str] = MNIST_URLS,
  files: Sequence[IdxFile] = MNIST_FILES,
) -> Dataset:
  """MNIST: 60,000 + 10,000 digits of 28×28, standardised by the training images.

  Args:
    data_dir: folder of the four standard IDX files, plain or gzipped. ``None``: the
      user's cache, into which the files are downloaded if they are not there.
    urls: where to download from, in the order in which to try.
    files: what to read.

  Raises:
    DataError: for files that are missing, truncated or not MNIST's.
  """
  folder = data_dir or pooch.os_cache("gsm_optax") / "mnist"
  missing = [file for file in files if not _candidates(folder, file)]
  if missing and data_dir is None:
    for file in missing:
      _download(file, folder, urls)
  elif missing:
    names = ", ".join(f"{file.name}[.gz]" for file in missing)
    raise DataError(f"MNIST is not complete in {folder}: it lacks {names}.")
  train_images, train_labels, test_images, test_labels = (
    read_idx(_candidates(folder, file)[0], file) for file in files
  )
  # The mean and standard deviation of MNIST's training pixels, as everyone rounds them.
  standardise = [
    ((images[..., None] / np.float32(255)) - np.float32(0.1307)) / np.float32(0.3081)
    for images in (train_images, test_images)
  ]
  return Dataset(
    standardise[0],
    train_labels.astype(np.int32),
    standardise[1],
    test_labels.astype(np.int32),
    10,
  )


def _candidates(folder: Path, file: IdxFile) -> list[Path]:
  paths = [folder / file.name, folder / f"{file.name}.gz"]
  return [path for path in paths if path.is_file()]


def _download(file: IdxFile, folder: Path, urls: Sequence[str]) -> None:
  reason = None
  for url in urls:
    try:
      pooch.retrieve(
        f"{url}{file.name}.gz",
        known_hash=f"md5:{file.zipped_md5}",
        fname=f"{file.name}.gz",
        path=folder,
      )
      return
    except (OSError, ValueError) as error:  # no connection; another checksum
      reason = error
  names = ", ".join(f"{file.name}.gz" for file in MNIST_FILES)
  raise DataError(
    f"MNIST could not be downloaded ({type(reason).__name__}): put its files {names}"
    f" into {folder}, or name the folder where they are with --data-dir."
  )


def read_idx(path: Path, expected: IdxFile) -> np.ndarray:
  """The uint8 array in an IDX file, plain or gzipped, checked against `expected`.

  Raises:
    DataError: if it is truncated, of another kind or shape, or has other content.
  """

  def refuse(problem: str) -> DataError:
    return DataError(
      f"{path} {problem}: replace it with MNIST's {expected.name}, whose MD5 unzipped"
      f" is {expected.md5}."
    )

  try:
    raw = path.read_bytes()
    content = gzip.decompress(raw) if path.suffix == ".gz" else raw
  except (OSError, EOFError, zlib.error) as error:
    raise refuse(f"cannot be read ({error})") from error
  # Two zero bytes, the type (8: uint8), the number of dimensions; then each dimension.
  magic = bytes([0, 0, 8, len(expected.shape)])
  header = 4 + 4 * len(expected.shape)
  if content[:4] != magic:
    raise refuse(
      f"does not begin with {magic.hex()}, the magic number of an IDX file of"
      f" {len(expected.shape)} dimensions, but with {content[:4].hex() or 'nothing'}"
    )
  if len(content) < header:
    raise refuse("is truncated")
  shape = struct.unpack(f">{len(expected.shape)}I", content[4:header])
  if shape != expected.shape:
    raise refuse(f"holds an array of shape {shape} instead of {expected.shape}")
  if len(content) != header + np.prod(shape):
    raise refuse(f"is of {len(content)} bytes instead of {header + np.prod(shape)}")
  if hashlib.md5(content, usedforsecurity=False).hexdigest() != expected.md5:
    raise refuse("is a well-formed file with other content")
  return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
