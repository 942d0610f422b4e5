"""Accuracies and losses on the test images."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from experiments.datasets.dataset import Dataset
from experiments.models import Model
from experiments.train.devices import on_devices

LIKELIEST = 5
"""Classes among which the label must be for top-5 accuracy."""


AT_ONCE = 1000
"""Images in a batch; of texts, a fraction."""


class Accuracy(NamedTuple):
  """How well the labels are told.

  Attributes:
    top1: percent of the images whose label is the likeliest class.
    top5: percent where it is among the five.
    loss: the mean cross-entropy, in nats.
  """

  top1: float
  top5: float
  loss: float


Weights = tuple[Any, Any]
"""Params and batch statistics."""


def make_evaluate(
  model: Model, data: Dataset, mesh: Mesh | None = None, batch_size: int = AT_ONCE
) -> Callable[[Sequence[Weights]], list[Accuracy]]:
  """``[(params, batch_stats), …] -> accuracies``, in one pass over the test images."""
  if len(data.image_shape) == 1:
    batch_size = -(-batch_size // 16)
  # A batch is split over the devices.
  devices = jax.device_count()
  batch_size = -(-min(batch_size, data.test_size) // devices) * devices

  @jax.jit
  def count(
    weights: Weights, images: jax.Array, labels: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    logits, _ = model.apply(*weights, data.prepare(images), False)
    is_given = labels >= 0
    labels = jnp.maximum(labels, 0)
    own = jnp.take_along_axis(logits, labels[..., None], axis=-1)
    # Ranked by how many classes are likelier, of equals the first: no sort.
    earlier = jnp.arange(logits.shape[-1]) < labels[..., None]
    rank = jnp.sum((logits > own) | (earlier & (logits == own)), axis=-1)
    known = is_given & ~jnp.isnan(logits).any(axis=-1)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    right = [known & (rank < n) for n in (1, LIKELIEST)]
    counts = jnp.stack([jnp.sum(each) for each in (*right, is_given)])
    return counts, jnp.sum(losses, where=is_given)

  def evaluate(weights: Sequence[Weights]) -> list[Accuracy]:
    totals = [(jnp.zeros(3, int), jnp.zeros(()))] * len(weights)
    for batch in data.test(batch_size):
      images, labels = on_devices(batch, mesh)
      totals = [
        jax.tree.map(jnp.add, total, count(each, images, labels))
        for total, each in zip(totals, weights, strict=True)
      ]
    return [
      Accuracy(
        100 * int(top1) / int(given), 100 * int(top5) / int(given), float(loss / given)
      )
      for (top1, top5, given), loss in jax.device_get(totals)
    ]

  return evaluate
