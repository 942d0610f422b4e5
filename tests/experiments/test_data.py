"""Data sets from their files, and what is said when the files are not right."""

import functools
import gc
import gzip
import hashlib
import http.server
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from experiments import data
from experiments.data import DataError, IdxFile, digits, mnist, read_idx

MNIST_FOLDER = Path(__file__).parents[3] / "shared" / "data" / "mnist"


def idx_bytes(array):
  return (
    bytes([0, 0, 8, array.ndim])
    + struct.pack(f">{array.ndim}I", *array.shape)
    + (array.tobytes())
  )


def write_idx(folder, name, array, zipped=False):
  """Writes a file and returns its description, as `MNIST_FILES` has them."""
  content = idx_bytes(array)
  compressed = gzip.compress(content, mtime=0)
  path = folder / (f"{name}.gz" if zipped else name)
  path.write_bytes(compressed if zipped else content)
  md5 = [hashlib.md5(c).hexdigest() for c in (content, compressed)]
  return IdxFile(name, *md5, array.shape)


@pytest.fixture
def small_mnist(tmp_path):
  """A data set of the form of MNIST: its folder and the descriptions of its files."""
  rng = np.random.default_rng(0)
  folder = tmp_path / "served"
  folder.mkdir()
  files = [
    write_idx(folder, name, rng.integers(0, limit, shape, np.uint8), zipped=True)
    for name, shape, limit in [
      ("train-images-idx3-ubyte", (12, 28, 28), 256),
      ("train-labels-idx1-ubyte", (12,), 10),
      ("t10k-images-idx3-ubyte", (5, 28, 28), 256),
      ("t10k-labels-idx1-ubyte", (5,), 10),
    ]
  ]
  return folder, files


@pytest.fixture
def serve():
  """Serves a folder on the loopback address; gives its URL."""
  servers = []

  class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
      pass

  def start(folder):
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    servers.append(server)
    return f"http://127.0.0.1:{server.server_port}/"

  yield start
  for server in servers:
    server.shutdown()
    server.server_close()
  gc.collect()


# After a refused download pooch leaves its connection to the garbage collector.
leaves_connections = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning"
)


def test_digits_split_is_fixed_and_stratified():
  first, second = digits(), digits()
  assert first.train_images.shape == (1347, 8, 8, 1)
  assert first.test_images.shape == (450, 8, 8, 1)
  np.testing.assert_array_equal(first.test_images, second.test_images)
  counts = np.bincount(first.test_labels)
  assert counts.min() >= 43
  assert counts.max() <= 46
  assert first.train_images.min() == 0
  assert first.train_images.max() == 1


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


def test_a_folder_that_lacks_files_is_named_with_what_it_lacks(small_mnist):
  folder, files = small_mnist
  (folder / "train-labels-idx1-ubyte.gz").unlink()
  with pytest.raises(
    DataError, match=r"lacks train-labels-idx1-ubyte\[\.gz\]\."
  ) as error:
    mnist(folder, files=files)
  assert str(folder) in str(error.value)


def test_missing_files_are_downloaded_once(small_mnist, serve, tmp_path, monkeypatch):
  folder, files = small_mnist
  cache = tmp_path / "cache"
  monkeypatch.setattr(data.pooch, "os_cache", lambda _: cache)
  dataset = mnist(urls=[serve(folder)], files=files)
  assert dataset.train_images.shape == (12, 28, 28, 1)
  assert dataset.test_labels.shape == (5,)
  again = mnist(urls=[], files=files)
  np.testing.assert_array_equal(again.train_images, dataset.train_images)


@leaves_connections
def test_a_download_falls_back_to_the_next_server(
  small_mnist, serve, tmp_path, monkeypatch
):
  folder, files = small_mnist
  empty = tmp_path / "empty"
  empty.mkdir()
  monkeypatch.setattr(data.pooch, "os_cache", lambda _: tmp_path / "cache")
  dataset = mnist(urls=[serve(empty), serve(folder)], files=files)
  assert len(dataset.train_labels) == 12


@leaves_connections
def test_a_download_with_another_checksum_is_refused(
  small_mnist, serve, tmp_path, monkeypatch
):
  folder, files = small_mnist
  monkeypatch.setattr(data.pooch, "os_cache", lambda _: tmp_path / "cache")
  path = folder / "t10k-labels-idx1-ubyte.gz"
  path.write_bytes(path.read_bytes() + b"more")
  with pytest.raises(DataError, match="could not be downloaded"):
    mnist(urls=[serve(folder)], files=files)
  assert not (tmp_path / "cache" / "mnist" / path.name).exists()


@leaves_connections
def test_without_network_and_data_the_folder_and_the_files_are_named(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(data.pooch, "os_cache", lambda _: tmp_path / "cache")
  with pytest.raises(DataError) as error:
    mnist(urls=["http://127.0.0.1:9/"])
  gc.collect()
  message = str(error.value)
  assert str(tmp_path / "cache" / "mnist") in message
  assert "--data-dir" in message
  for file in data.MNIST_FILES:
    assert f"{file.name}.gz" in message


@pytest.mark.skipif(not MNIST_FOLDER.exists(), reason="the MNIST files are not here")
def test_mnist_is_mnist():
  dataset = mnist(MNIST_FOLDER)
  assert dataset.train_images.shape == (60000, 28, 28, 1)
  assert dataset.test_images.shape == (10000, 28, 28, 1)
  assert list(dataset.train_labels[:5]) == [5, 0, 4, 1, 9]
  assert abs(dataset.train_images.mean()) < 1e-3
  assert abs(dataset.train_images.std() - 1) < 1e-3
