"""Accuracies on the test images."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from experiments.datasets.dataset import Dataset
from experiments.models import Model
from experiments.train.devices import on_devices

LIKELIEST = 5
"""Classes among which the label must be for top-5 accuracy."""


class Accuracy(NamedTuple):
  """Percent of the images whose label is the likeliest class, or among the five."""

  top1: float
  top5: float


Weights = tuple[Any, Any]
"""Params and batch statistics."""


def make_evaluate(
  model: Model, data: Dataset, mesh: Mesh | None = None, batch_size: int = 1000
) -> Callable[[Sequence[Weights]], list[Accuracy]]:
  """``[(params, batch_stats), …] -> accuracies``, in one pass over the test images."""
  # A batch is split over the devices.
  devices = jax.device_count()
  batch_size = -(-min(batch_size, data.test_size) // devices) * devices

  @jax.jit
  def count(weights: Weights, images: jax.Array, labels: jax.Array) -> jax.Array:
    logits, _ = model.apply(*weights, data.prepare(images), False)
    own = jnp.take_along_axis(logits, jnp.maximum(labels, 0)[:, None], axis=-1)
    # Ranked by how many classes are likelier, of equals the first: no sort.
    earlier = jnp.arange(logits.shape[-1]) < labels[:, None]
    rank = jnp.sum((logits > own) | (earlier & (logits == own)), axis=-1)
    known = (labels >= 0) & ~jnp.isnan(logits).any(axis=-1)
    return jnp.stack([jnp.sum(known & (rank < n)) for n in (1, LIKELIEST)])

  def evaluate(weights: Sequence[Weights]) -> list[Accuracy]:
    totals = [jnp.zeros(2, int)] * len(weights)
    for batch in data.test(batch_size):
      images, labels = on_devices(batch, mesh)
      totals = [
        total + count(each, images, labels)
        for total, each in zip(totals, weights, strict=True)
      ]
    return [
      Accuracy(*(100 * int(right) / data.test_size for right in total))
      for total in jax.device_get(totals)
    ]

  return evaluate
