"""BatchNorm's statistics, estimated anew: pruning changes what flows through."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from experiments.datasets.dataset import Dataset
from experiments.models import Model
from experiments.train.augmentation import Augmentation, augment
from experiments.train.devices import on_devices


def make_reestimate(
  model: Model,
  data: Dataset,
  batch_size: int,
  augmentations: Sequence[Augmentation] = (),
  batches: int = 100,
  mesh: Mesh | None = None,
) -> Callable[[Any, Any], Any]:
  """``(params, batch_stats) -> batch_stats``: averages over some training batches.

  A model without statistics gets its own back.

  Args:
    model: the model.
    data: whose training images to take.
    batch_size: images per batch.
    augmentations: of the images, as in training: the network knows no others.
    batches: how many, at most one epoch.
    mesh: over whose devices batches are split.
  """

  @jax.jit
  def step(
    params: Any, batch_stats: Any, images: jax.Array, number: jax.Array
  ) -> tuple[Any, jax.Array]:
    # The momentum of a running mean: 0, 1/2, 2/3, …
    momentum = number / (number + 1)
    images = augment(augmentations, jax.random.key(number.astype(int)), images)
    _, batch_stats = model.apply(
      params, batch_stats, data.prepare(images), True, momentum
    )
    return batch_stats, number + 1

  def reestimate(params: Any, batch_stats: Any) -> Any:
    if not jax.tree.leaves(batch_stats):
      return batch_stats
    number = jnp.float32(0)
    # The last ones of an epoch: nothing behind them is read in vain.
    others = max(data.train_size // batch_size - batches, 0)
    for batch in data.epoch(jax.random.key(0), batch_size, others):
      images, _ = on_devices(batch, mesh)
      batch_stats, number = step(params, batch_stats, images, number)
    return batch_stats

  return reestimate
