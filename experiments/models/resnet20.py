"""ResNet-20 for 32×32 images (He et al., 2015, section 4.2)."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx


class Block(nnx.Module):
  """Two 3×3 convolutions beside a shortcut without parameters."""

  def __init__(self, inputs: int, features: int, stride: int, rngs: nnx.Rngs):
    conv = partial(nnx.Conv, kernel_size=(3, 3), use_bias=False, rngs=rngs)
    self.conv1 = conv(inputs, features, strides=stride)
    self.norm1 = nnx.BatchNorm(features, momentum=0.9, rngs=rngs)
    self.conv2 = conv(features, features)
    self.norm2 = nnx.BatchNorm(features, momentum=0.9, rngs=rngs)
    self.stride, self.widening = stride, features - inputs

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.norm1(self.conv1(x)))
    y = self.norm2(self.conv2(y))
    shortcut = x[:, :: self.stride, :: self.stride]
    shortcut = jnp.pad(shortcut, [(0, 0)] * 3 + [(0, self.widening)])
    return nnx.relu(y + shortcut)


class ResNet20(nnx.Module):
  """Three stages of three blocks with 16, 32 and 64 features."""

  def __init__(self, image_shape: tuple[int, ...], num_classes: int, rngs: nnx.Rngs):
    channels = image_shape[-1]
    self.conv = nnx.Conv(channels, 16, (3, 3), use_bias=False, rngs=rngs)
    self.norm = nnx.BatchNorm(16, momentum=0.9, rngs=rngs)
    widths = [16] * 4 + [32] * 3 + [64] * 3
    self.blocks = nnx.List(
      [
        Block(inputs, features, features // inputs, rngs)
        for inputs, features in pairwise(widths)
      ]
    )
    self.dense = nnx.Linear(64, num_classes, rngs=rngs)

  def __call__(self, images: jax.Array) -> jax.Array:
    x = nnx.relu(self.norm(self.conv(images)))
    for block in self.blocks:
      x = block(x)
    return self.dense(x.mean(axis=(1, 2)))
