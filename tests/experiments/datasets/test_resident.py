"""Data sets in memory: the batches of an epoch, of a test, and what is held out."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.datasets.dataset import DataError
from experiments.datasets.digits import digits, load
from experiments.datasets.resident import Resident, hold_out
from experiments.train.epoch import make_train_epoch


def make_data(train=23, test=7):
  """Images that can be told apart, of which each says its label."""
  images = np.arange(train + test, dtype=np.float32)[:, None, None, None]
  images = np.broadcast_to(images, (train + test, 2, 3, 1)).copy()
  labels = np.arange(train + test, dtype=np.int32)
  return Resident(
    images[:train], labels[:train], images[train:], labels[train:], train + test
  )


def labels_of(batches):
  return [list(labels) for _, labels in batches]


def test_sizes():
  data = make_data()
  assert data.image_shape == (2, 3, 1)
  assert (data.train_size, data.test_size) == (23, 7)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_order_is_that_of_a_permutation_cut_to_whole_batches(compiled):
  data, key = make_data(), jax.random.key(3)
  order = jax.jit(data.order, static_argnums=1) if compiled else data.order
  expected = jax.random.permutation(key, 23)[:20].reshape(4, 5)
  np.testing.assert_array_equal(order(key, 5), expected, strict=True)
  assert order(key, 5).dtype == np.int32
  assert order(key, 24).shape == (0, 24)


@pytest.mark.parametrize("scans", [False, True])
def test_batches_are_those_of_the_training_loop(scans):
  def record(state, batch, _):
    seen, step = state
    seen = jax.tree.map(lambda all_, new: all_.at[step].set(new), seen, batch)
    return (seen, step + 1), jnp.zeros(())

  data, key = digits(), jax.random.key(11)
  images = jnp.zeros((21, 64, 8, 8, 1))
  state = ((images, jnp.zeros((21, 64), jnp.int32)), jnp.int32(0))
  *_, ((seen, _), _) = make_train_epoch(record, data, 64, scans)(state, key, None)
  batches = list(data.epoch(key, 64))
  for recorded, own in zip(seen, zip(*batches, strict=True), strict=True):
    np.testing.assert_array_equal(recorded, np.stack(own), strict=True)


def test_an_epoch_has_each_image_at_most_once_and_another_key_another_order():
  data = make_data()
  for images, labels in data.epoch(jax.random.key(0), 5):
    assert images.shape == (5, 2, 3, 1)
    np.testing.assert_array_equal(images[:, 1, 2, 0], labels)
  first, second = (
    np.ravel(labels_of(data.epoch(jax.random.key(k), 5))) for k in (0, 1)
  )
  assert len(set(first)) == len(set(second)) == 20
  assert set(first) != set(second)
  assert len(set(np.ravel(labels_of(data.epoch(jax.random.key(0), 23))))) == 23


@pytest.mark.parametrize("taken", range(5))
def test_an_epoch_continues_behind_the_last_batch_that_was_taken(taken):
  data, key = make_data(), jax.random.key(0)
  batches = data.epoch(key, 5)
  first = [labels for _, (_, labels) in zip(range(taken), batches, strict=False)]
  position = json.loads(json.dumps(batches.position()))
  assert position == taken
  rest = labels_of(data.epoch(key, 5, position))
  assert [*map(list, first), *rest] == labels_of(data.epoch(key, 5))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10])
def test_the_test_has_all_images_once_and_padding_of_label_minus_one(batch_size):
  data = make_data()
  batches = list(data.test(batch_size))
  assert {images.shape for images, _ in batches} == {(batch_size, 2, 3, 1)}
  images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
  assert (images.dtype, labels.dtype) == (np.float32, np.int32)
  np.testing.assert_array_equal(images[:7], data.test_images)
  np.testing.assert_array_equal(labels[:7], data.test_labels)
  assert (labels[7:] == -1).all()
  assert len(batches) == -(-7 // batch_size)


def test_each_process_takes_its_own_part_of_a_batch(monkeypatch):
  data, key = make_data(), jax.random.key(0)
  whole, whole_test = labels_of(data.epoch(key, 6)), labels_of(data.test(6))
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  parts, test_parts = [], []
  for index in range(2):
    monkeypatch.setattr(jax, "process_index", lambda index=index: index)
    parts.append(labels_of(data.epoch(key, 6)))
    test_parts.append(labels_of(data.test(6)))
  assert [a + b for a, b in zip(*parts, strict=True)] == whole
  assert [a + b for a, b in zip(*test_parts, strict=True)] == whole_test
  for batches in (lambda: data.epoch(key, 5), lambda: list(data.test(5))):
    with pytest.raises(DataError, match="5 images cannot be split evenly over 2"):
      batches()


def test_prepared_images_are_standardised_only_if_they_are_to_be():
  images = jnp.arange(12, dtype=jnp.uint8).reshape(1, 2, 2, 3) * 20
  arrays = [np.asarray(images), np.zeros(1, np.int32)] * 2
  stored = images.astype(jnp.float32)
  as_floats = [np.asarray(stored), np.zeros(1, np.int32)] * 2
  assert Resident(*as_floats, 10).prepare(stored) is stored
  mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.6])
  prepared = jax.jit(Resident(*arrays, 10, (mean, std)).prepare)(images)
  assert prepared.dtype == jnp.float32
  expected = (np.asarray(images) / 255 - mean) / std
  np.testing.assert_allclose(prepared, expected, rtol=1e-5, atol=1e-6)


def test_held_out_images_are_the_same_ones_every_time():
  data = make_data()
  order = np.random.default_rng(0).permutation(23)
  held = hold_out(data, 4)
  np.testing.assert_array_equal(held.test_labels, order[:4])
  np.testing.assert_array_equal(held.train_labels, order[4:])
  np.testing.assert_array_equal(held.train_images, data.train_images[order[4:]])
  np.testing.assert_array_equal(held.test_images, data.train_images[order[:4]])
  assert held.num_classes == data.num_classes
  assert hold_out(data, 0) is data
  assert hold_out(data, 22).train_size == 1


@pytest.mark.parametrize("n", [-1, 23, 24])
def test_more_than_there_are_or_less_than_none_cannot_be_held_out(n):
  message = rf"There are 23 training images: {n} cannot be held out\."
  with pytest.raises(DataError, match=message):
    hold_out(make_data(), n)


def test_digits_split_is_fixed_and_stratified():
  first, second = digits(), load()
  assert first.train_images.shape == (1347, 8, 8, 1)
  assert first.test_images.shape == (450, 8, 8, 1)
  np.testing.assert_array_equal(first.test_images, second.test_images)
  counts = np.bincount(first.test_labels)
  assert counts.min() >= 43
  assert counts.max() <= 46
  assert first.train_images.min() == 0
  assert first.train_images.max() == 1


@pytest.mark.parametrize(
  ("images", "labels", "message"),
  [
    (np.zeros((3, 4, 4)), [0, 1, 1], r"must be \(n, height, width, channels\)"),
    (np.zeros((3, 4, 4, 1)), [0, 1], "with n labels, not .* with 2"),
    (np.zeros((3, 4, 4, 1)), [0, 1, 2], "labels must be from 0 to 1, not from 0 to 2"),
    (np.zeros((3, 4, 4, 1)), [-1, 0, 1], "not from -1 to 1"),
    (np.zeros((3, 4, 4, 1), np.uint8), [0, 1, 1], "need `standardise`"),
  ],
)
def test_arrays_that_no_network_could_be_trained_on_are_refused(
  images, labels, message
):
  labels = np.array(labels, np.int32)
  right = np.zeros((1, 4, 4, 1)), np.zeros(1, np.int32)
  with pytest.raises(DataError, match=message):
    Resident(images, labels, *right, num_classes=2)
