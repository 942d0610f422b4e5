"""The training loop is SGD over shuffled whole batches, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.augmentation import Augmentation
from experiments.models import Model
from experiments.training import TrainState, make_accuracy, make_train_epoch


def linear_model():
  def init(key):
    return {"kernel": jax.random.normal(key, (3, 2))}, {"seen": jnp.zeros(())}

  def apply(params, batch_stats, images, train):
    seen = batch_stats["seen"] + (len(images) if train else 0)
    return images @ params["kernel"], {"seen": seen}

  return Model(init, apply)


def data(n=23):
  images = jax.random.normal(jax.random.key(1), (n, 3))
  return images, (images[:, 0] > 0).astype(jnp.int32)


def test_an_epoch_is_its_steps_one_by_one():
  model, tx, (images, labels) = linear_model(), optax.sgd(0.1, 0.9), data()
  params, stats = model.init(jax.random.key(0))
  key = jax.random.key(7)
  order = jax.random.permutation(key, len(labels))

  def loss_fn(params, chosen):
    logits = images[chosen] @ params["kernel"]
    return optax.softmax_cross_entropy_with_integer_labels(
      logits, labels[chosen]
    ).mean()

  expected, opt_state, losses = params, tx.init(params), []
  for step in range(4):  # 23 images are 4 whole batches of 5
    loss, gradients = jax.value_and_grad(loss_fn)(
      expected, order[5 * step : 5 * step + 5]
    )
    updates, opt_state = tx.update(gradients, opt_state, expected)
    expected = optax.apply_updates(expected, updates)
    losses.append(loss)

  state = TrainState(params, stats, tx.init(params))
  state, loss = make_train_epoch(model, tx, 5)(state, (images, labels), key)
  np.testing.assert_allclose(state.params["kernel"], expected["kernel"], rtol=1e-5)
  np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
  assert state.batch_stats["seen"] == 20


def test_images_are_augmented_anew_at_each_step():
  def apply(params, batch_stats, images, train):
    del train
    return jnp.zeros((len(images), 2)) * params, {
      "sum": batch_stats["sum"] + images,
      "squares": batch_stats["squares"] + images**2,
    }

  def init(key):
    del key
    return jnp.ones(()), {name: jnp.zeros((50, 20)) for name in ("sum", "squares")}

  model, tx = Model(init, apply), optax.sgd(0.1)
  params, stats = model.init(jax.random.key(0))
  images, labels = jnp.full((2000, 20), 3.0), jnp.zeros(2000, jnp.int32)
  for noise in (0.0, 0.5):
    augmentation = Augmentation(noise)
    train_epoch = make_train_epoch(model, tx, 50, augmentation=augmentation)
    state = TrainState(*jax.tree.map(jnp.copy, (params, stats)), tx.init(params))
    state, _ = train_epoch(state, (images, labels), jax.random.key(7))
    mean = state.batch_stats["sum"] / 40
    deviation = jnp.sqrt(jnp.maximum(state.batch_stats["squares"] / 40 - mean**2, 0))
    np.testing.assert_allclose(deviation.mean(), noise, rtol=0.05, atol=1e-3)
    np.testing.assert_allclose(mean.mean(), 3, atol=0.02)


def test_accuracy_is_the_percentage_of_right_answers_whatever_the_batches():
  model, (images, labels) = linear_model(), data()
  params = {"kernel": jnp.array([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])}
  wrong = labels.at[:3].set(1 - labels[:3])
  for batch_size in (4, 1000):
    accuracy = make_accuracy(model, batch_size)
    assert accuracy(params, {"seen": 0}, (images, labels)) == 100
    np.testing.assert_allclose(
      accuracy(params, {"seen": 0}, (images, wrong)), 100 * 20 / 23
    )
