"""LeNet-5 as in Caffe: two convolutions and two dense layers (LeCun et al., 1998)."""

import jax
from flax import nnx

from experiments.models.layers import ConvMaxPool


class LeNet5(nnx.Module):
  """Convolutions 5×5×20 and 5×5×50, each pooled, then 500 and `num_classes` units.

  On images of 28×28×1 it has 430,500 weights.
  """

  def __init__(self, image_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs):
    height, width, channels = image_shape
    if height < 16 or width < 16 or height % 4 or width % 4:
      raise ValueError("height and width must be multiples of 4, and 16 or more.")
    rows, columns = (((length - 4) // 2 - 4) // 2 for length in (height, width))
    self.conv1 = ConvMaxPool(channels, 20, (5, 5), padding="VALID", rngs=rngs)
    self.conv2 = ConvMaxPool(20, 50, (5, 5), padding="VALID", rngs=rngs)
    self.dense1 = nnx.Linear(rows * columns * 50, 500, rngs=rngs)
    self.dense2 = nnx.Linear(500, num_classes, rngs=rngs)

  def __call__(self, images: jax.Array) -> jax.Array:
    # ReLU after the pooling is the same as before it, on a quarter of the numbers.
    x = nnx.relu(self.conv1(images))
    x = nnx.relu(self.conv2(x))
    x = x.reshape(x.shape[0], -1)
    x = nnx.relu(self.dense1(x))
    return self.dense2(x)


build = LeNet5
