"""ImageNet's batches follow from the key alone; what is wrong with files is said."""

import itertools
import json
import multiprocessing
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.datasets import _jpeg, imagenet
from experiments.datasets.dataset import DataError

SIZE = 32
TRAIN = 45
TEST = 11
CLASSES = ("cat", "dog", "eel")
STEP = 34
"""Between the levels of red, and of green, that say which image it is."""


def write_image(path, number, rng):
  """An image of its own red and green; its blue grows from left to right."""
  width, height = (int(side) for side in rng.integers(40, 160, 2))
  pixels = np.empty((height, width, 3), np.uint8)
  pixels[..., 0] = STEP * (number % 7) + 20
  pixels[..., 1] = STEP * (number // 7) + 20
  pixels[..., 2] = np.linspace(0, 255, width)
  mode = {8: "L", 9: "CMYK"}.get(number, "RGB")
  Image.fromarray(pixels).convert(mode).save(path, "JPEG", quality=95)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
  rng = np.random.default_rng(0)
  root = tmp_path_factory.mktemp("imagenet")
  endings = itertools.cycle(["JPEG", "jpg", "jpeg", "JPG"])
  for part, size in (("train", TRAIN), ("val", TEST)):
    for name in CLASSES:
      (root / part / name).mkdir(parents=True)
    for number, ending in zip(range(size), endings, strict=False):
      path = root / part / CLASSES[number % 3] / f"{number:02}.{ending}"
      write_image(path, number, rng)
  (root / "train" / ".DS_Store").touch()
  (root / "train" / "cat" / "._00.JPEG").touch()
  return root


@pytest.fixture
def own(folder, tmp_path):
  """A copy to spoil."""
  return shutil.copytree(folder, tmp_path / "own")


def load(folder, held_out=0, workers=0):
  return imagenet.load(folder, held_out, size=SIZE, workers=workers)


def numbers(images):
  """Which images these are."""
  red, green = np.moveaxis(np.mean(images[..., :2], (1, 2)), -1, 0)
  found = np.round((red - 20) / STEP) + 7 * np.round((green - 20) / STEP)
  return found.astype(int).tolist()


def copied(batches):
  return [(np.array(images), np.array(labels)) for images, labels in batches]


def assert_same(batches, others):
  assert len(batches) == len(others)
  for batch, other in zip(batches, others, strict=True):
    for array, same in zip(batch, other, strict=True):
      np.testing.assert_array_equal(array, same)


def epoch(data, seed=0, batch_size=8, position=None):
  return copied(data.epoch(jax.random.key(seed), batch_size, position))


def test_shapes_and_dtypes(folder):
  data = load(folder)
  assert (data.image_shape, data.num_classes) == ((SIZE, SIZE, 3), 3)
  assert (data.train_size, data.test_size) == (TRAIN, TEST)
  for batches in (epoch(data), list(data.test(8))):
    for images, labels in batches:
      assert (images.shape, images.dtype) == ((8, SIZE, SIZE, 3), np.uint8)
      assert (labels.shape, labels.dtype) == ((8,), np.int32)


def test_prepare_standardises_inside_jit(folder):
  pixels = np.array([[[[0, 127, 255]]]], np.uint8)
  result = jax.jit(load(folder).prepare)(pixels)
  expected = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
  assert result.dtype == jnp.float32
  np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_every_image_once_but_for_the_remainder(folder):
  # Red and green do not tell gray images, and those of CMYK, from others.
  unclear = {8, 9}
  batches = epoch(load(folder))
  assert len(batches) == TRAIN // 8
  labels = np.concatenate([labels for _, labels in batches])
  found = numbers(np.concatenate([images for images, _ in batches]))
  clear = [n for n in found if n not in unclear]
  assert len(set(clear)) == len(clear) >= len(found) - len(unclear)
  right = [n % 3 == label for n, label in zip(found, labels, strict=True)]
  assert sum(right) >= len(found) - len(unclear)


def test_the_remainder_is_another_in_every_epoch(folder):
  data = load(folder)
  taken = [
    {n for images, _ in epoch(data, seed, batch_size=20) for n in numbers(images)}
    for seed in range(3)
  ]
  assert taken[0] != taken[1] != taken[2]


def test_order_and_crops_follow_from_the_key(folder):
  data = load(folder)
  first, other = epoch(data, seed=0), epoch(data, seed=1)
  assert_same(first, epoch(data, seed=0))
  orders = [[n for images, _ in b for n in numbers(images)] for b in (first, other)]
  assert orders[0] != orders[1]
  # An image that both have is cropped in two ways.
  crops = [
    dict(zip(order, np.concatenate([i for i, _ in b]), strict=True))
    for order, b in zip(orders, (first, other), strict=True)
  ]
  common = sorted(crops[0].keys() & crops[1].keys())
  assert any((crops[0][n] != crops[1][n]).any() for n in common)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_bit(folder, workers):
  assert_same(epoch(load(folder, workers=workers)), epoch(load(folder)))


def test_continues_where_it_was_interrupted(folder):
  data = load(folder)
  whole = epoch(data)
  for after in range(len(whole) + 1):
    batches = data.epoch(jax.random.key(0), 8)
    taken = copied(itertools.islice(batches, after))
    position = json.loads(json.dumps(batches.position()))
    assert_same(taken + epoch(data, position=position), whole)


def test_continues_behind_what_was_taken_not_what_was_read_ahead(folder):
  data = load(folder, workers=2)
  batches = data.epoch(jax.random.key(0), 4)
  taken = copied(itertools.islice(batches, 3))
  rest = epoch(load(folder), batch_size=4, position=batches.position())
  assert_same(taken + rest, epoch(load(folder), batch_size=4))


def test_a_stream_goes_on_where_it_was_left(folder):
  batches = load(folder).epoch(jax.random.key(0), 8)
  taken = copied(itertools.islice(batches, 2))
  assert_same(taken + copied(batches), epoch(load(folder)))


def test_epochs_shorter_than_a_batch_are_empty(folder):
  assert epoch(load(folder), batch_size=TRAIN + 1) == []
  assert len(epoch(load(folder, held_out=TRAIN - 1), batch_size=1)) == 1


def test_processes_share_every_batch(folder, monkeypatch):
  data = load(folder)
  whole = [epoch(data), copied(data.test(8))]
  shares = []
  monkeypatch.setattr(jax, "process_count", lambda: 4)
  for index in range(4):
    monkeypatch.setattr(jax, "process_index", lambda index=index: index)
    shares.append([epoch(data), copied(data.test(8))])
  for part, batches in enumerate(whole):
    together = [
      tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
      for parts in zip(*(share[part] for share in shares), strict=True)
    ]
    assert_same(together, batches)


def test_test_images_are_all_there_and_padding_is_labelled(folder):
  batches = list(load(folder).test(8))
  labels = np.concatenate([labels for _, labels in batches])
  np.testing.assert_array_equal(labels, [0] * 4 + [1] * 4 + [2] * 3 + [-1] * 5)
  found = numbers(np.concatenate([images for images, _ in batches])[:TEST])
  expected = [*range(0, TEST, 3), *range(1, TEST, 3), *range(2, TEST, 3)]
  differing = [a for a, b in zip(expected, found, strict=True) if a != b]
  assert set(differing) <= {8, 9}  # gray, and CMYK


def test_held_out_images_are_never_trained_on(folder):
  held_out = 15
  data = load(folder, held_out)
  assert (data.train_size, data.test_size) == (TRAIN - held_out, held_out)
  tested = numbers(next(iter(data.test(held_out)))[0])
  trained = numbers(epoch(data, batch_size=TRAIN - held_out)[0][0])
  unclear = {8, 9}
  assert not (set(tested) - unclear) & (set(trained) - unclear)
  assert len(set(tested) | set(trained)) >= TRAIN - len(unclear)
  assert_same(copied(data.test(5)), copied(load(folder, held_out).test(5)))


def test_crops_are_of_torchvisions_sizes():
  rng = np.random.default_rng(0)
  boxes = np.array([_jpeg.crop_box(500, 375, rng) for _ in range(2000)])
  left, top, width, height = boxes.T
  assert (left >= 0).all()
  assert (top >= 0).all()
  assert (left + width <= 500).all()
  assert (top + height <= 375).all()
  areas, ratios = width * height / (500 * 375), width / height
  assert 0.079 < areas.min() < 0.1
  assert 0.9 < areas.max() <= 1
  assert 0.74 < ratios.min() < 0.77
  assert 1.3 < ratios.max() < 1.35


def test_an_image_too_long_for_its_crops_gives_the_central_one():
  assert _jpeg.crop_box(1000, 30, np.random.default_rng(0)) == (480, 0, 40, 30)
  assert _jpeg.crop_box(30, 1000, np.random.default_rng(0)) == (0, 480, 30, 40)


@pytest.fixture
def large(tmp_path):
  """An image as JPEG, and as PNG, which no decoder can shrink."""
  noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
  image = Image.fromarray(noise).resize((801, 603), Image.Resampling.BICUBIC)
  paths = [str(tmp_path / "large.JPEG"), str(tmp_path / "large.png")]
  image.save(paths[0], quality=95, subsampling=0)
  image.save(paths[1])
  return paths


def test_shrinking_while_decoding_cuts_the_same(large):
  for seed in range(5):
    crops = [_jpeg.random_crop(p, 64, np.random.default_rng(seed)) for p in large]
    np.testing.assert_allclose(*(crop.astype(float) for crop in crops), atol=12)
  centres = [_jpeg.central_crop(path, 64) for path in large]
  np.testing.assert_allclose(*(centre.astype(float) for centre in centres), atol=12)


def test_centres_are_of_the_resized_image(large):
  with Image.open(large[1]) as image:
    resized = image.resize((340, 256), Image.Resampling.BILINEAR)
  expected = np.asarray(resized)[16:240, 58:282]
  np.testing.assert_array_equal(_jpeg.central_crop(large[1], 224), expected)


def remove(path):
  shutil.rmtree(path)


def flatten(path):
  remove(path)
  path.mkdir()
  (path / "1.JPEG").touch()


def empty(path):
  remove(path)
  path.mkdir()


@pytest.mark.parametrize(
  ("spoil", "part", "message"),
  [
    (remove, "", r"own/train cannot be listed \(No such file .* --data-dir must"),
    (empty, "", r"own/train cannot be listed \(No such file .* --data-dir must"),
    (remove, "train", r"own/train cannot be listed \(No such file .* --data-dir must"),
    (remove, "val", r"own/val cannot be listed \(No such file .* --data-dir must"),
    (flatten, "val", "own/val has no folders, one for every class: --data-dir must"),
    (empty, "train", "own/train has no folders, one for every class: --data-dir must"),
    (empty, "train/dog", r"train/dog has no images \(\*.jpeg, \*.jpg\): put those"),
    (remove, "val/dog", "own/train has a class dog, and .*own/val has none: both must"),
    (remove, "train/dog", "own/val has a class dog, and .*own/train has none: both"),
  ],
)
def test_says_what_the_folder_lacks(own, spoil, part, message):
  spoil(own / part)
  with pytest.raises(DataError, match=message) as raised:
    load(own)
  assert_one_sentence(raised.value)


def test_says_what_is_asked_wrongly(folder, monkeypatch):
  with pytest.raises(DataError, match=r"cannot be downloaded .* --data-dir must name"):
    load(None)
  with pytest.raises(DataError, match="45 training images: 45 cannot be held out"):
    load(folder, held_out=TRAIN)
  monkeypatch.setattr(jax, "process_count", lambda: 4)
  with pytest.raises(DataError, match="10 images cannot be split evenly over 4 proc"):
    load(folder).test(10)


def overwrite(path):
  path.write_bytes(b"no image")


def truncate(path):
  path.write_bytes(path.read_bytes()[:-200])


def replace_by_folder(path):
  path.unlink()
  path.mkdir()


@pytest.mark.parametrize(
  ("spoil", "part", "workers", "reason"),
  [
    (overwrite, "train", 0, "cannot identify image file"),
    (truncate, "train", 0, "image file is truncated"),
    (truncate, "train", 2, "image file is truncated"),
    (truncate, "val", 0, "image file is truncated"),
    (replace_by_folder, "val", 0, "Is a directory"),
  ],
)
def test_names_the_file_that_cannot_be_read(own, spoil, part, workers, reason):
  path = min((own / part / "dog").iterdir())
  spoil(path)
  data = load(own, workers=workers)
  batches = data.epoch(jax.random.key(0), TRAIN) if part == "train" else data.test(8)
  with pytest.raises(DataError, match=f"cannot be read as .*{reason}") as raised:
    list(batches)
  assert str(raised.value).startswith(f"{path} ")
  assert_one_sentence(raised.value)


def test_says_that_a_worker_was_killed(folder):
  batches = iter(load(folder, workers=1).epoch(jax.random.key(0), 4))
  next(batches)
  (worker,) = multiprocessing.active_children()
  # Until it has read ahead. Shared memory that it just makes for a batch would stay.
  time.sleep(0.5)
  worker.kill()
  with pytest.raises(DataError, match=r"exit code -9.*use fewer workers") as raised:
    list(batches)
  assert_one_sentence(raised.value)


def assert_one_sentence(error):
  assert "\n" not in str(error)
  assert str(error).endswith(".")
