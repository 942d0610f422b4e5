"""Python's own sources: split by file, cut into windows, the same each time."""

import sysconfig
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import datasets
from experiments.datasets.dataset import DataError
from experiments.datasets.python_source import load, sources
from experiments.datasets.texts import windows


@pytest.fixture
def folder(tmp_path):
  """Of thirty files, each of one letter, and others that are no sources."""
  for i in range(30):
    path = tmp_path / f"package{i % 3}" / f"module{i}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes([ord("a") + i]) * 100)
  for name in ("test/test_a.py", "site-packages/a.py", "package0/tests/a.py"):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("no source" * 100)
  (tmp_path / "package0/notes.txt").write_text("no source" * 100)
  (tmp_path / "_sysconfigdata_linux.py").write_text("no source" * 100)
  return tmp_path


def test_it_is_pythons_library():
  data = datasets.load("python_source", windows_per_epoch=320)
  assert data.image_shape == (128,)
  assert data.num_classes == 256
  assert data.train_size == 320
  assert len(data.train_images) > 40_000
  assert 1_000 < data.test_size < 10_000
  text = data.train_images[0].tobytes()
  label = int(data.train_labels[0, -1])
  files = sources(Path(sysconfig.get_path("stdlib")))
  assert sum(content.startswith(text + bytes([label])) for content in files.values())


def test_a_window_is_followed_by_its_labels():
  images, labels = windows(bytes(range(11)), 3)
  assert images.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
  assert labels.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
  assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
  images, _ = windows(bytes(10), 3)
  assert len(images) == 3


def letters(images):
  return set(np.unique(images).tolist())


def test_a_file_is_for_training_or_for_testing(folder):
  data = load(folder, length=10)
  assert len(letters(data.train_images) | letters(data.test_images)) == 30
  # A window may reach over the end of a file into the next one of the same part.
  assert not letters(data.train_images) & letters(data.test_images)
  assert len(letters(data.test_images)) == 1


def test_what_is_held_out_are_other_files(folder):
  data, held_out = load(folder, length=10), load(folder, held_out=25, length=10)
  assert held_out.test_size == 25
  test, training = letters(held_out.test_images), letters(held_out.train_images)
  assert len(test) == 3
  assert not test & (letters(data.test_images) | training)
  assert len(training) == 26


def test_an_epoch_draws_other_windows_each_time(folder):
  data = load(folder, length=10, windows_per_epoch=50)
  assert (data.train_size, len(data.train_images)) == (50, 289)
  orders = [np.asarray(data.order(jax.random.key(i), 16)) for i in range(3)]
  for order in orders:
    assert order.shape == (3, 16)
    assert len(set(order.ravel().tolist())) == 48
  assert len({order.max() for order in orders}) > 1
  assert max(order.max() for order in orders) > 50


def test_the_last_test_windows_are_filled_up(folder):
  data = load(folder, held_out=25, length=10)
  *_, (images, labels) = data.test(16)
  assert images.shape == labels.shape == (16, 10)
  assert (labels[9:] == -1).all()
  assert (labels[:9] >= 0).all()


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"length": 4000}, "too little text for windows of 4000 bytes"),
    ({"length": 10, "held_out": 1000}, "and 1000 held out"),
    ({"length": 10, "windows_per_epoch": 1000}, "an epoch cannot have 1000"),
  ],
)
def test_too_little_text(folder, arguments, message):
  with pytest.raises(DataError, match=message):
    load(folder, **arguments)


def test_no_sources(tmp_path):
  with pytest.raises(DataError, match="There are no Python files in"):
    load(tmp_path)
  with pytest.raises(DataError, match="There are no Python files in"):
    load(tmp_path / "missing")
  (tmp_path / "a.py").mkdir()
  with pytest.raises(DataError, match=r"cannot be read: Is a directory"):
    load(tmp_path)
