"""The training loop is SGD over shuffled whole batches, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

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


def test_images_are_shifted_anew_at_each_step():
  def apply(params, batch_stats, images, train):
    del train
    return jnp.zeros((len(images), 2)) * params, batch_stats + images

  model, tx = Model(lambda _: None, apply), optax.sgd(0.1)
  image = jnp.zeros((5, 5, 1)).at[2, 2].set(1)
  images, labels = jnp.stack([image] * 4000), jnp.zeros(4000, jnp.int32)
  for shift in (0, 1):
    train_epoch = make_train_epoch(model, tx, 20, input_shift=shift)
    params, seen = jnp.ones(()), jnp.zeros((20, 5, 5, 1))
    state = TrainState(params, seen, tx.init(params))
    state, _ = train_epoch(state, (images, labels), jax.random.key(7))
    # Where the bright pixel was, at each of 200 steps, in each place of the batch.
    expected = np.zeros((5, 5))
    expected[2 - shift : 3 + shift, 2 - shift : 3 + shift] = 200 / (1 + 2 * shift) ** 2
    counts = np.asarray(state.batch_stats)[..., 0]
    np.testing.assert_allclose(counts, np.stack([expected] * 20), atol=25 * shift)
    np.testing.assert_allclose(counts.mean(0), expected, atol=5 * shift)


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
