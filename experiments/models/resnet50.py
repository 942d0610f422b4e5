"""ResNet-50 (He et al., 2015), with the strides in the 3×3 convolutions ("v1.5")."""

from functools import partial
from typing import Any

import jax
from flax import nnx


class Bottleneck(nnx.Module):
  """Convolutions 1×1, 3×3 and 1×1 beside a shortcut, projected where shapes differ."""

  def __init__(
    self, inputs: int, width: int, stride: int, rngs: nnx.Rngs, dtype: Any = None
  ):
    conv = partial(nnx.Conv, use_bias=False, rngs=rngs, dtype=dtype)
    norm = partial(nnx.BatchNorm, momentum=0.9, rngs=rngs, dtype=dtype)
    outputs = 4 * width
    self.conv1, self.norm1 = conv(inputs, width, (1, 1)), norm(width)
    self.conv2 = conv(width, width, (3, 3), strides=stride)
    self.norm2 = norm(width)
    self.conv3, self.norm3 = conv(width, outputs, (1, 1)), norm(outputs)
    self.projects = inputs != outputs
    if self.projects:
      self.projection = conv(inputs, outputs, (1, 1), strides=stride)
      self.projection_norm = norm(outputs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.norm1(self.conv1(x)))
    y = nnx.relu(self.norm2(self.conv2(y)))
    y = self.norm3(self.conv3(y))
    shortcut = self.projection_norm(self.projection(x)) if self.projects else x
    return nnx.relu(y + shortcut)


class ResNet50(nnx.Module):
  """Stages of 3, 4, 6 and 3 bottlenecks: 25,502,912 weights in kernels on ImageNet.

  Parameters are float32; `dtype` is the type to compute in, float32 if ``None``.
  """

  def __init__(
    self,
    image_shape: tuple[int, ...],
    num_classes: int,
    rngs: nnx.Rngs,
    dtype: Any = None,
  ):
    channels = image_shape[-1]
    conv = partial(nnx.Conv, use_bias=False, rngs=rngs, dtype=dtype)
    self.conv = conv(channels, 64, (7, 7), strides=2)
    self.norm = nnx.BatchNorm(64, momentum=0.9, rngs=rngs, dtype=dtype)
    blocks: list[Bottleneck] = []
    features = 64
    for stage, depth in enumerate((3, 4, 6, 3)):
      width = 64 * 2**stage
      for block in range(depth):
        stride = 2 if stage > 0 and block == 0 else 1
        blocks.append(Bottleneck(features, width, stride, rngs, dtype))
        features = 4 * width
    self.blocks = nnx.List(blocks)
    self.dense = nnx.Linear(features, num_classes, rngs=rngs, dtype=dtype)

  def __call__(self, images: jax.Array) -> jax.Array:
    x = nnx.relu(self.norm(self.conv(images)))
    x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
    for block in self.blocks:
      x = block(x)
    return self.dense(x.mean(axis=(1, 2))).astype("float32")


build = ResNet50
