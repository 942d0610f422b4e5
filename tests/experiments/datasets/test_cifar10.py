"""CIFAR-10 from its binary files, small ones and, where they are, the real ones."""

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.datasets._download import Archive
from experiments.datasets._files import DataFile
from experiments.datasets.cifar10 import FILES, RECORD, averaged, cifar10, load
from experiments.datasets.dataset import DataError

SHARED = Path(__file__).parents[4] / "shared" / "data"
INNER = "cifar-10-batches-bin"


def write_batches(folder, records, zipped=False):
  """Writes `records`, uint8 (6, n, RECORD); returns the files' descriptions."""
  folder.mkdir(exist_ok=True, parents=True)
  files = []
  for file, array in zip(FILES, records, strict=True):
    content = array.tobytes()
    path = folder / (f"{file.name}.gz" if zipped else file.name)
    path.write_bytes(gzip.compress(content) if zipped else content)
    md5 = hashlib.md5(content).hexdigest()
    files.append(DataFile("CIFAR-10", file.name, md5, len(content)))
  return files


@pytest.fixture
def records():
  records = np.random.default_rng(0).integers(0, 256, (6, 4, RECORD), np.uint8)
  records[..., 0] %= 10
  return records


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("inner", ["", INNER])
def test_files_are_read_from_the_folder_and_the_one_in_it(
  tmp_path, records, zipped, inner
):
  files = write_batches(tmp_path / inner, records, zipped)
  data = cifar10(tmp_path, files=files)
  labels, pixels = records[..., 0], records[..., 1:].reshape(6, 4, 3, 32, 32)
  assert (data.image_shape, data.num_classes) == ((32, 32, 3), 10)
  assert data.train_images.dtype == data.test_images.dtype == np.uint8
  assert data.train_labels.dtype == data.test_labels.dtype == np.int32
  assert data.train_images.flags.c_contiguous
  np.testing.assert_array_equal(data.train_labels, labels[:5].ravel())
  np.testing.assert_array_equal(data.test_labels, labels[5])
  for i, channel in np.ndindex(4, 3):
    np.testing.assert_array_equal(
      data.test_images[i, ..., channel], pixels[5, i, channel]
    )
    np.testing.assert_array_equal(
      data.train_images[8 + i, ..., channel], pixels[2, i, channel]
    )


def test_what_a_network_gets_is_standardised(tmp_path, records):
  data = cifar10(tmp_path, files=write_batches(tmp_path, records))
  images = jax.jit(data.prepare)(data.train_images)
  assert images.dtype == np.float32
  mean, std = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2470, 0.2435, 0.2616])
  np.testing.assert_allclose(images, (data.train_images / 255 - mean) / std, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_smaller_images_are_means_of_squares(tmp_path, records, size):
  files = write_batches(tmp_path, records)
  whole, small = (
    cifar10(tmp_path, files=files),
    cifar10(tmp_path, size=size, files=files),
  )
  assert small.image_shape == (size, size, 3)
  assert small.train_images.dtype == np.uint8
  side = 32 // size
  corner = whole.test_images[1, -side:, :side, 2].mean()
  assert abs(small.test_images[1, -1, 0, 2] - corner) <= 0.5
  np.testing.assert_array_equal(small.train_labels, whole.train_labels)


def test_means_of_squares_neither_overflow_nor_are_cut_off():
  np.testing.assert_array_equal(
    averaged(np.full((1, 32, 32, 3), 255, np.uint8), 1), 255
  )
  image = np.array([[0, 1], [1, 1]], np.uint8).reshape(1, 2, 2, 1)
  assert averaged(image, 1).item() == 1


@pytest.mark.parametrize("size", [0, 3, 64, -8, 16.0, "16", None])
def test_another_size_is_refused_before_anything_is_read(tmp_path, size):
  with pytest.raises(DataError, match=r"1, 2, 4, 8, 16 or 32 pixels wide.*, not"):
    load(tmp_path / "absent", size=size)


def test_labels_of_no_class_are_refused(tmp_path, records):
  records[3, 2, 0] = 10
  files = write_batches(tmp_path, records)
  with pytest.raises(DataError, match=r"data_batch_4\.bin holds the label 10"):
    cifar10(tmp_path, files=files)


def test_a_file_of_another_length_or_content_is_refused(tmp_path, records):
  files = write_batches(tmp_path, records)
  path = tmp_path / "test_batch.bin"
  content = path.read_bytes()
  path.write_bytes(content[:-RECORD])
  with pytest.raises(DataError, match=r"is of 9219 bytes instead of 12292: replace it"):
    cifar10(tmp_path, files=files)
  path.write_bytes(bytes(len(content)))
  with pytest.raises(DataError, match="other content"):
    cifar10(tmp_path, files=files)


def test_missing_files_are_named(tmp_path, records):
  files = write_batches(tmp_path, records)
  (tmp_path / "data_batch_2.bin").unlink()
  with pytest.raises(
    DataError, match=r"CIFAR-10 is .* lacks data_batch_2.bin\[.gz\]\."
  ):
    cifar10(tmp_path, files=files)


def test_the_archive_is_downloaded_and_unpacked_once(tmp_path, records, serve, cache):
  files = write_batches(tmp_path / INNER, records)
  archive = tmp_path / "served" / "cifar.tar.gz"
  archive.parent.mkdir()
  with tarfile.open(archive, "w:gz") as tar:
    tar.addfile(tarfile.TarInfo(f"{INNER}/batches.meta.txt"), io.BytesIO())
    tar.add(tmp_path / INNER, INNER)
  md5 = hashlib.md5(archive.read_bytes()).hexdigest()
  urls = [f"{serve(archive.parent)}{archive.name}"]
  data = cifar10(archive=Archive(urls, md5, INNER), files=files)
  names = sorted(path.name for path in cache.rglob("*") if path.is_file())
  assert names == sorted(file.name for file in files)
  again = cifar10(archive=Archive([], md5, INNER), files=files)
  np.testing.assert_array_equal(again.train_images, data.train_images)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_network_and_data_the_folder_and_the_files_are_named(cache):
  archive = Archive(["http://127.0.0.1:9/cifar.tar.gz"], "0" * 32, INNER)
  with pytest.raises(DataError, match=r"CIFAR-10 could not be downloaded") as error:
    cifar10(archive=archive)
  assert str(cache / "cifar10") in str(error.value)
  for file in FILES:
    assert file.name in str(error.value)


@pytest.fixture(scope="session")
def real_folder(tmp_path_factory):
  """The real files, which take seconds to make; for the one test that reads them."""
  script = SHARED / "unpack_cifar10.py"
  if not script.exists():
    pytest.skip("the CIFAR-10 files are not here")
  pytest.importorskip("PIL")
  folder = tmp_path_factory.mktemp("cifar10")
  subprocess.run([sys.executable, str(script), str(folder)], check=True)
  return folder


def test_cifar10_is_cifar10(real_folder):
  data = load(real_folder, held_out=5000)
  assert data.train_images.shape == (45000, 32, 32, 3)
  assert data.test_images.shape == (5000, 32, 32, 3)
  small = load(real_folder, size=8)
  assert small.train_images.shape == (50000, 8, 8, 3)
  assert list(small.train_labels[:5]) == [6, 9, 9, 4, 1]
  assert (np.bincount(small.train_labels) == 5000).all()
  assert (np.bincount(small.test_labels) == 1000).all()
  mean, std = data.standardise
  pixels = data.train_images[::9] / 255
  np.testing.assert_allclose(pixels.mean((0, 1, 2)), mean, atol=0.005)
  np.testing.assert_allclose(pixels.std((0, 1, 2)), std, atol=0.005)
