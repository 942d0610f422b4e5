"""An epoch is SGD over shuffled whole batches, and nothing else."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import models
from experiments.datasets.resident import Resident
from experiments.models import Model
from experiments.train.augmentation import Crop, Flip, Shift
from experiments.train.epoch import Interrupted, is_quick_in_a_loop, make_train_epoch
from experiments.train.step import TrainState, make_augmented_step
from tests.experiments.networks_for_tests import DENSE, NORMALISED, random_data

KEY = jax.random.key(7)
BOTH_WAYS = pytest.mark.parametrize("scans", [False, True])


def new_state(model, tx):
  params, stats = model.init(jax.random.key(0))
  return TrainState(params, stats, tx.init(params))


def trained(train_epoch, state, key=KEY, interrupted=None):
  """The state after an epoch, its mean loss and how many times it was yielded."""
  times = 0
  for state, within in train_epoch(state, key, interrupted):  # noqa: B007, B020
    times += 1
  return state, within.loss_sum / within.step, times


@BOTH_WAYS
def test_an_epoch_is_its_steps_one_by_one(scans):
  def init(key):
    return {"kernel": jax.random.normal(key, (3, 2))}, {"seen": jnp.zeros(())}

  def apply(params, batch_stats, images, train, momentum=None):
    del momentum
    seen = batch_stats["seen"] + (len(images) if train else 0)
    return images.reshape(len(images), 3) @ params["kernel"], {"seen": seen}

  model, tx = Model(init, apply, None), optax.sgd(0.1, 0.9)
  images = np.asarray(jax.random.normal(jax.random.key(1), (23, 1, 3, 1)))
  labels = (images[:, 0, 0, 0] > 0).astype(np.int32)
  data = Resident(images, labels, images, labels, 2)
  order = jax.random.permutation(KEY, len(labels))

  def loss_fn(params, chosen):
    logits = images[chosen, 0, :, 0] @ params["kernel"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels[chosen])
    return losses.mean()

  expected, _ = init(jax.random.key(0))
  opt_state, losses = tx.init(expected), []
  for step in range(4):  # 23 images are 4 whole batches of 5
    chosen = order[5 * step : 5 * step + 5]
    loss, gradients = jax.value_and_grad(loss_fn)(expected, chosen)
    updates, opt_state = tx.update(gradients, opt_state, expected)
    expected = optax.apply_updates(expected, updates)
    losses.append(loss)

  train_epoch = make_train_epoch(make_augmented_step(model, tx, data), data, 5, scans)
  state, loss, times = trained(train_epoch, new_state(model, tx))
  np.testing.assert_allclose(state.params["kernel"], expected["kernel"], rtol=1e-5)
  np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
  assert state.batch_stats["seen"] == 20
  assert times == (1 if scans else 4)


@BOTH_WAYS
def test_images_are_shifted_anew_at_each_step(scans):
  def apply(params, batch_stats, images, train, momentum=None):
    del train, momentum
    return jnp.zeros((len(images), 2)) * params, batch_stats + images

  model, tx = Model(lambda _: None, apply, None), optax.sgd(0.1)
  images = np.zeros((4000, 5, 5, 1), np.float32)
  images[:, 2, 2] = 1
  data = Resident(images, np.zeros(4000, np.int32), images[:1], np.zeros(1, int), 2)
  for shift in (0, 1):
    step = make_augmented_step(model, tx, data, [Shift(shift)])
    params, seen = jnp.ones(()), jnp.zeros((20, 5, 5, 1))
    state = TrainState(params, seen, tx.init(params))
    state, _, _ = trained(make_train_epoch(step, data, 20, scans), state)
    # Where the bright pixel was, at each of 200 steps, in each place of the batch.
    expected = np.zeros((5, 5))
    expected[2 - shift : 3 + shift, 2 - shift : 3 + shift] = 200 / (1 + 2 * shift) ** 2
    counts = np.asarray(state.batch_stats)[..., 0]
    np.testing.assert_allclose(counts, np.stack([expected] * 20), atol=25 * shift)
    np.testing.assert_allclose(counts.mean(0), expected, atol=5 * shift)


@pytest.mark.parametrize("augmentations", [(), (Crop(1), Flip())])
def test_in_one_call_or_step_by_step_it_is_the_same(augmentations):
  data, tx = random_data(), optax.sgd(0.1, 0.9)
  step = make_augmented_step(NORMALISED, tx, data, augmentations)
  (stepwise, loss, _), (at_once, same_loss, _) = (
    trained(make_train_epoch(step, data, 5, scans), new_state(NORMALISED, tx))
    for scans in (False, True)
  )
  close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  jax.tree.map(close, stepwise, at_once)
  close(loss, same_loss)
  # It was another epoch with another key.
  train_epoch = make_train_epoch(step, data, 5, True)
  other, _, _ = trained(train_epoch, new_state(NORMALISED, tx), jax.random.key(8))
  with pytest.raises(AssertionError):
    jax.tree.map(close, other.params, at_once.params)


def test_an_interrupted_epoch_continues_to_the_same_bits():
  data, tx = random_data(), optax.sgd(0.1, 0.9)
  step = make_augmented_step(DENSE, tx, data, (Crop(1), Flip()))
  train_epoch = make_train_epoch(step, data, 5, False)
  whole, loss, _ = trained(train_epoch, new_state(DENSE, tx))
  for steps in range(1, 5):
    for state, within in train_epoch(new_state(DENSE, tx), KEY, None):
      if within.step == steps:
        # As from a checkpoint.
        position = json.loads(json.dumps(within.batches.position()))
        interrupted = Interrupted(steps, jnp.array(within.loss_sum), position)
        kept = jax.tree.map(jnp.array, state)
        break
    if steps < 4:
      again, same_loss, times = trained(train_epoch, kept, interrupted=interrupted)
      jax.tree.map(np.testing.assert_array_equal, again, whole)
      assert (same_loss, times) == (loss, 4 - steps)
    else:
      assert list(train_epoch(kept, KEY, interrupted)) == []


def test_an_epoch_in_one_call_says_how_many_steps_it_had():
  data, tx = random_data(), optax.sgd(0.1)
  train_epoch = make_train_epoch(make_augmented_step(DENSE, tx, data), data, 5, True)
  ((_, within),) = train_epoch(new_state(DENSE, tx), KEY, None)
  assert (within.step, within.batches) == (4, None)


@pytest.mark.parametrize(
  ("backend", "name", "options", "shape", "quick"),
  [
    ("cpu", "lenet300", {}, (8, 8, 1), True),
    ("cpu", "lenet5", {}, (16, 16, 1), True),
    ("cpu", "resnet_cifar", {"depth": 8}, (8, 8, 3), False),
    ("gpu", "resnet_cifar", {"depth": 8}, (8, 8, 3), True),
  ],
)
def test_convolutions_are_slow_in_a_loop_on_a_cpu(
  backend, name, options, shape, quick, monkeypatch
):
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  model = models.load(name, shape, 10, options)
  assert is_quick_in_a_loop(model, shape) == quick
