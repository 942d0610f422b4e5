"""MNIST from its files, and what is said when the files are not right."""

import gc
import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from experiments.datasets.dataset import DataError
from experiments.datasets.mnist import FILES, IdxFile, load, mnist, read_idx

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "mnist"


def write_idx(folder, name, array, zipped=False):
  """Writes a file and returns its description, as `FILES` has them."""
  dimensions = struct.pack(f">{array.ndim}I", *array.shape)
  content = bytes([0, 0, 8, array.ndim]) + dimensions + array.tobytes()
  compressed = gzip.compress(content, mtime=0)
  path = folder / (f"{name}.gz" if zipped else name)
  path.write_bytes(compressed if zipped else content)
  md5 = [hashlib.md5(c).hexdigest() for c in (content, compressed)]
  return IdxFile(name, *md5, array.shape)


@pytest.fixture
def arrays():
  rng = np.random.default_rng(0)
  return {
    file.name: rng.integers(0, limit, (n, *file.shape[1:]), np.uint8)
    for file, n, limit in zip(FILES, (12, 12, 5, 5), (256, 10, 256, 10), strict=True)
  }


@pytest.fixture
def small_mnist(tmp_path, arrays):
  """A data set of the form of MNIST: its folder and the descriptions of its files."""
  folder = tmp_path / "served"
  folder.mkdir()
  files = [write_idx(folder, *item, zipped=True) for item in arrays.items()]
  return folder, files


# After a refused download pooch leaves its connection to the garbage collector.
leaves_connections = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.mark.parametrize("zipped", [False, True])
def test_an_idx_file_is_read_plain_and_gzipped(tmp_path, zipped):
  array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
  expected = write_idx(tmp_path, "array", array, zipped)
  path = tmp_path / ("array.gz" if zipped else "array")
  np.testing.assert_array_equal(read_idx(path, expected), array)


@pytest.mark.parametrize(
  ("change", "problem"),
  [
    (lambda content: content[:-1], "bytes instead of"),
    (lambda content: content + b"x", "bytes instead of"),
    (lambda content: content[:6], "is truncated"),
    (lambda _: b"", "does not begin with 00000803"),
    (lambda content: b"\x00\x00\x08\x01" + content[4:], "does not begin with 00000803"),
    (lambda content: content[:7] + b"\x09" + content[8:], r"shape \(9, 3, 4\)"),
    (lambda content: content[:-1] + b"\xff", "other content"),
  ],
)
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path, change, problem):
  expected = write_idx(tmp_path, "images", np.zeros((2, 3, 4), np.uint8))
  path = tmp_path / "images"
  path.write_bytes(change(path.read_bytes()))
  with pytest.raises(DataError, match=problem) as error:
    read_idx(path, expected)
  assert str(path) in str(error.value)
  assert expected.md5 in str(error.value)


def test_a_truncated_gzip_file_is_refused(tmp_path):
  expected = write_idx(tmp_path, "images", np.zeros((2, 3, 4), np.uint8), zipped=True)
  path = tmp_path / "images.gz"
  path.write_bytes(path.read_bytes()[:-4])
  with pytest.raises(DataError, match="cannot be read"):
    read_idx(path, expected)


def test_a_gzip_file_with_damaged_content_is_refused(tmp_path):
  array = np.random.default_rng(0).integers(0, 256, (9, 28, 28), np.uint8)
  expected = write_idx(tmp_path, "images", array, zipped=True)
  path = tmp_path / "images.gz"
  content = path.read_bytes()
  for place in range(20, len(content), len(content) // 20):
    path.write_bytes(content[:place] + b"\xff" * 8 + content[place + 8 :])
    with pytest.raises(DataError):
      read_idx(path, expected)


def test_images_are_standardised_in_float32(small_mnist, arrays):
  folder, files = small_mnist
  data = mnist(folder, files=files)
  train, train_labels, test, test_labels = arrays.values()
  for images, raw in ((data.train_images, train), (data.test_images, test)):
    pixels = (raw / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081)
    np.testing.assert_array_equal(images, pixels[..., None], strict=True)
  for labels, raw in (
    (data.train_labels, train_labels),
    (data.test_labels, test_labels),
  ):
    np.testing.assert_array_equal(labels, raw.astype(np.int32), strict=True)
  assert (data.image_shape, data.num_classes) == ((28, 28, 1), 10)
  assert (data.train_size, data.test_size) == (12, 5)


def test_a_folder_that_lacks_files_is_named_with_what_it_lacks(small_mnist):
  folder, files = small_mnist
  (folder / "train-labels-idx1-ubyte.gz").unlink()
  with pytest.raises(
    DataError, match=r"lacks train-labels-idx1-ubyte\[\.gz\]\."
  ) as error:
    mnist(folder, files=files)
  assert str(folder) in str(error.value)


def test_missing_files_are_downloaded_once(small_mnist, serve, cache):
  folder, files = small_mnist
  dataset = mnist(urls=[serve(folder)], files=files)
  assert dataset.train_images.shape == (12, 28, 28, 1)
  assert dataset.test_labels.shape == (5,)
  assert len(list((cache / "mnist").iterdir())) == 4
  again = mnist(urls=[], files=files)
  np.testing.assert_array_equal(again.train_images, dataset.train_images)


@leaves_connections
def test_a_download_falls_back_to_the_next_server(small_mnist, serve, tmp_path, cache):
  folder, files = small_mnist
  empty = tmp_path / "empty"
  empty.mkdir()
  dataset = mnist(urls=[serve(empty), serve(folder)], files=files)
  assert dataset.train_size == 12
  assert cache.exists()


@leaves_connections
def test_a_download_with_another_checksum_is_refused(small_mnist, serve, cache):
  folder, files = small_mnist
  path = folder / "t10k-labels-idx1-ubyte.gz"
  path.write_bytes(path.read_bytes() + b"more")
  with pytest.raises(DataError, match="could not be downloaded"):
    mnist(urls=[serve(folder)], files=files)
  assert not (cache / "mnist" / path.name).exists()


@leaves_connections
def test_without_network_and_data_the_folder_and_the_files_are_named(cache):
  with pytest.raises(DataError) as error:
    mnist(urls=["http://127.0.0.1:9/"])
  gc.collect()
  message = str(error.value)
  assert str(cache / "mnist") in message
  assert "--data-dir" in message
  for file in FILES:
    assert f"{file.name}.gz" in message


@pytest.mark.skipif(not FOLDER.exists(), reason="the MNIST files are not here")
def test_mnist_is_mnist():
  dataset = load(FOLDER)
  assert dataset.train_images.shape == (60000, 28, 28, 1)
  assert dataset.test_images.shape == (10000, 28, 28, 1)
  assert list(dataset.train_labels[:5]) == [5, 0, 4, 1, 9]
  assert abs(dataset.train_images.mean()) < 1e-3
  assert abs(dataset.train_images.std() - 1) < 1e-3
