"""LeNet-300-100: two hidden layers of 300 and 100 units (LeCun et al., 1998)."""

import math

import jax
from flax import nnx


class LeNet300(nnx.Module):
  """Dense layers of 300, 100 and `num_classes`; 266,200 weights on 28×28 images."""

  def __init__(self, image_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs):
    self.dense1 = nnx.Linear(math.prod(image_shape), 300, rngs=rngs)
    self.dense2 = nnx.Linear(300, 100, rngs=rngs)
    self.dense3 = nnx.Linear(100, num_classes, rngs=rngs)

  def __call__(self, images: jax.Array) -> jax.Array:
    x = images.reshape(images.shape[0], -1)
    x = nnx.relu(self.dense1(x))
    x = nnx.relu(self.dense2(x))
    return self.dense3(x)


build = LeNet300
