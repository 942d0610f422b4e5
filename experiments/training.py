"""The one training loop: whole epochs on the device, whatever the model and optimiser.

An epoch is one call: the data lie on the device, the order is drawn there, and the
steps are a `lax.scan`. So Python costs nothing per step. On a CPU a convolution must
not sit in a scan; models use the layers of `experiments.models.layers` instead.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from experiments.augmentation import shifted
from experiments.devices import split
from experiments.models import Model


class TrainState(NamedTuple):
  """What training changes."""

  params: Any
  batch_stats: Any
  opt_state: Any


Batch = tuple[jax.Array, jax.Array]
"""Images (n, height, width, channels) and labels (n,)."""


def cross_entropy(
  model: Model, params: Any, batch_stats: Any, batch: Batch
) -> tuple[jax.Array, Any]:
  """Mean cross-entropy of a training batch, and the new batch statistics."""
  images, labels = batch
  logits, batch_stats = model.apply(params, batch_stats, images, True)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  return losses.mean(), batch_stats


def make_train_step(
  model: Model, tx: optax.GradientTransformation
) -> Callable[[TrainState, Batch], tuple[TrainState, jax.Array]]:
  """``(state, batch) -> (state, loss)``: one step of any optimiser on any model."""

  def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
    def loss_fn(params: Any) -> tuple[jax.Array, Any]:
      return cross_entropy(model, params, state.batch_stats, batch)

    gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, batch_stats), gradients = gradient_fn(state.params)
    updates, opt_state = tx.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, batch_stats, opt_state), loss

  return train_step


def make_train_epoch(
  model: Model,
  tx: optax.GradientTransformation,
  batch_size: int,
  mesh: Mesh | None = None,
  input_shift: int = 0,
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, jax.Array]]:
  """``(state, data, key) -> (state, mean loss)``: one pass over the shuffled data.

  The images left over by whole batches are others in every epoch. With a mesh, each
  batch is split over its devices. Each image is moved by up to `input_shift` pixels
  along both axes, anew at each step.
  """
  train_step = make_train_step(model, tx)

  def train_epoch(
    state: TrainState, data: Batch, key: jax.Array
  ) -> tuple[TrainState, jax.Array]:
    images, labels = data
    steps = len(labels) // batch_size
    order = jax.random.permutation(key, len(labels))[: steps * batch_size]
    keys = jax.random.split(jax.random.fold_in(key, 1), steps)

    def body(
      state: TrainState, inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[TrainState, jax.Array]:
      chosen, key = inputs
      batch = images[chosen]
      if input_shift:
        batch = shifted(key, batch, input_shift)
      return train_step(state, split((batch, labels[chosen]), mesh))

    inputs = order.reshape(steps, batch_size), keys
    state, losses = jax.lax.scan(body, state, inputs)
    return state, losses.mean()

  return jax.jit(train_epoch, donate_argnums=0)


def make_accuracy(
  model: Model, batch_size: int = 1000
) -> Callable[[Any, Any, Batch], float]:
  """``(params, batch_stats, data) -> percent`` of the images classified correctly."""

  @jax.jit
  def correct(
    params: Any, batch_stats: Any, images: jax.Array, labels: jax.Array
  ) -> jax.Array:
    logits, _ = model.apply(params, batch_stats, images, False)
    return jnp.sum(logits.argmax(-1) == labels)

  def accuracy(params: Any, batch_stats: Any, data: Batch) -> float:
    images, labels = data
    counts = [
      correct(
        params, batch_stats, images[i : i + batch_size], labels[i : i + batch_size]
      )
      for i in range(0, len(labels), batch_size)
    ]
    return 100 * sum(int(count) for count in counts) / len(labels)

  return accuracy
