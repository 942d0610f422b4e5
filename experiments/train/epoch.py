"""Whole epochs: in one call on the device, or step by step.

Where the data are resident an epoch is one call: the order is drawn on the device, and
the steps are a `lax.scan`, so that Python costs nothing. Two things are trained step by
step: streamed data, and convolutions on a CPU, which XLA runs up to ten times slower in
a loop than outside of one. Both give a batch the same images and the same key.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from experiments.datasets.dataset import Batches, Dataset
from experiments.datasets.resident import Resident
from experiments.models import Model, examples
from experiments.train.devices import on_devices, replicate, split
from experiments.train.step import AugmentedStep, TrainState


class Within(NamedTuple):
  """Where an epoch stands.

  Attributes:
    step: how many of its steps are done.
    loss_sum: of these steps' losses.
    batches: where they came from; ``None`` where the epoch is one call.
  """

  step: int
  loss_sum: jax.Array
  batches: Batches | None


class Interrupted(NamedTuple):
  """Where to go on in an epoch: `Within` as a checkpoint has it."""

  step: int
  loss_sum: jax.Array
  position: Any


TrainEpoch = Callable[
  [TrainState, jax.Array, Interrupted | None], Iterator[tuple[TrainState, Within]]
]
"""``(state, key, interrupted) -> states``: after each step, or after all of them."""


def is_quick_in_a_loop(model: Model, image_shape: tuple[int, ...]) -> bool:
  """Whether a step of the model may be in a `lax.scan` on this machine.

  By a rule and not by the clock, so that a run is the same to the bit when it is
  resumed.
  """
  if jax.default_backend() != "cpu":
    return True
  params, batch_stats = jax.eval_shape(model.init, jax.random.key(0))
  images = examples(image_shape, 1)
  program = jax.make_jaxpr(
    lambda params, stats, images: model.apply(params, stats, images, True)
  )(params, batch_stats, images)
  return "conv_general_dilated" not in str(program)


def make_train_epoch(
  step: AugmentedStep,
  data: Dataset,
  batch_size: int,
  scans: bool,
  mesh: Mesh | None = None,
) -> TrainEpoch:
  """The training of one epoch; with a mesh, batches are split over its devices.

  Args:
    step: one step.
    data: what to train on.
    batch_size: images per step.
    scans: whether steps may be in a loop on the device.
    mesh: of the devices.
  """
  if scans and isinstance(data, Resident):
    return _in_one_call(step, data, batch_size, mesh)
  return _step_by_step(step, data, batch_size, mesh)


def _step_keys(key: jax.Array, steps: int) -> jax.Array:
  return jax.random.split(jax.random.fold_in(key, 1), steps)


def _in_one_call(
  step: AugmentedStep, data: Resident, batch_size: int, mesh: Mesh | None
) -> TrainEpoch:
  train = replicate((data.train_images, data.train_labels), mesh)
  train = jax.tree.map(jnp.asarray, train)

  def epoch(
    state: TrainState, train: tuple[jax.Array, jax.Array], key: jax.Array
  ) -> tuple[TrainState, jax.Array]:
    images, labels = train
    order = data.order(key, batch_size)

    def body(
      state: TrainState, inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[TrainState, jax.Array]:
      chosen, key = inputs
      return step(state, split((images[chosen], labels[chosen]), mesh), key)

    inputs = order, _step_keys(key, len(order))
    state, losses = jax.lax.scan(body, state, inputs)
    return state, losses.sum()

  compiled = jax.jit(epoch, donate_argnums=0)

  def train_epoch(
    state: TrainState, key: jax.Array, interrupted: Interrupted | None
  ) -> Iterator[tuple[TrainState, Within]]:
    del interrupted  # nothing can be saved within one call
    state, loss_sum = compiled(state, train, key)
    yield state, Within(data.train_size // batch_size, loss_sum, None)

  return train_epoch


def _step_by_step(
  step: AugmentedStep, data: Dataset, batch_size: int, mesh: Mesh | None
) -> TrainEpoch:
  def summing_step(
    state: TrainState,
    loss_sum: jax.Array,
    batch: tuple[jax.Array, jax.Array],
    key: jax.Array,
  ) -> tuple[TrainState, jax.Array]:
    state, loss = step(state, batch, key)
    return state, loss_sum + loss

  compiled = jax.jit(summing_step, donate_argnums=(0, 1))

  def train_epoch(
    state: TrainState, key: jax.Array, interrupted: Interrupted | None
  ) -> Iterator[tuple[TrainState, Within]]:
    keys = jax.device_get(jax.random.key_data(_step_keys(key, steps)))
    number, loss_sum, position = 0, replicate(jnp.float32(0), mesh), None
    if interrupted:
      number, loss_sum, position = interrupted
    batches = data.epoch(key, batch_size, position)
    for batch in batches:
      own_key = jax.random.wrap_key_data(keys[number])
      state, loss_sum = compiled(state, loss_sum, on_devices(batch, mesh), own_key)
      number += 1
      yield state, Within(number, loss_sum, batches)

  steps = data.train_size // batch_size
  return train_epoch
