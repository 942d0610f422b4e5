"""Texts in memory: windows of bytes, in which the next byte is to be told."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.datasets.dataset import DataError
from experiments.datasets.resident import Resident

BYTES = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Texts(Resident):
  """Windows of texts, one behind the other.

  What an image is elsewhere, uint8 (height, width, channels), is here uint8 (length,),
  and its label int32 (length,): the byte behind each.

  Attributes:
    windows_per_epoch: how many windows an epoch has, drawn anew for each; ``None``:
      all.
  """

  windows_per_epoch: int | None = None

  def __post_init__(self):
    """Raises a DataError if an epoch would have more windows than there are."""
    if self.train_size > len(self.train_images):
      raise DataError(
        f"The texts have {len(self.train_images)} windows: an epoch cannot have"
        f" {self.train_size}."
      )

  @property
  def train_size(self) -> int:
    """Number of windows in an epoch."""
    return self.windows_per_epoch or len(self.train_images)

  def order(self, key: jax.Array, batch_size: int) -> jax.Array:
    """The windows of each batch of an epoch: int32 (steps, batch_size)."""
    steps = self.train_size // batch_size
    order = jax.random.permutation(key, len(self.train_images))[: steps * batch_size]
    return order.astype(jnp.int32).reshape(steps, batch_size)

  def prepare(self, images: jax.Array) -> jax.Array:
    """Inside jit: the bytes as tokens, int32."""
    return images.astype(jnp.int32)


def windows(text: bytes, length: int) -> tuple[np.ndarray, np.ndarray]:
  """What is left of a text by cutting it into windows, and the byte behind each byte.

  Args:
    text: longer than a window.
    length: of a window.

  Returns:
    uint8 and int32, both (n, length).
  """
  number = (len(text) - 1) // length
  array = np.frombuffer(text, np.uint8)
  images = array[: number * length].reshape(number, length)
  labels = array[1 : number * length + 1].reshape(number, length)
  return images, labels.astype(np.int32)
