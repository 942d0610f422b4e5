"""One training step, of any model under any optimizer."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import optax

from experiments.datasets.dataset import Dataset
from experiments.models import Model
from experiments.train.augmentation import Augmentation, augment


class TrainState(NamedTuple):
  """What training changes."""

  params: Any
  batch_stats: Any
  opt_state: Any


Batch = tuple[jax.Array, jax.Array]
"""Images (n, height, width, channels) and labels (n,)."""

AugmentedStep = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, jax.Array]]
"""``(state, batch, key) -> (state, loss)``."""


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
  """``(state, batch) -> (state, loss)``: one step of any optimizer on any model."""

  def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
    def loss_fn(params: Any) -> tuple[jax.Array, Any]:
      return cross_entropy(model, params, state.batch_stats, batch)

    gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, batch_stats), gradients = gradient_fn(state.params)
    updates, opt_state = tx.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, batch_stats, opt_state), loss

  return train_step


def make_augmented_step(
  model: Model,
  tx: optax.GradientTransformation,
  data: Dataset,
  augmentations: Sequence[Augmentation] = (),
) -> AugmentedStep:
  """The same on images as they are stored, augmented with a key."""
  train_step = make_train_step(model, tx)

  def augmented_step(
    state: TrainState, batch: Batch, key: jax.Array
  ) -> tuple[TrainState, jax.Array]:
    images, labels = batch
    images = data.prepare(augment(augmentations, key, images))
    return train_step(state, (images, labels))

  return augmented_step
