"""ResNets for CIFAR: ResNet-20, -56 and so on (He et al., 2015, section 4.2)."""

from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

HE_NORMAL = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


class Block(nnx.Module):
  """Two 3×3 convolutions beside a shortcut without parameters."""

  def __init__(
    self, inputs: int, features: int, stride: int, rngs: nnx.Rngs, dtype: Any = None
  ):
    conv = partial(
      nnx.Conv,
      kernel_size=(3, 3),
      use_bias=False,
      kernel_init=HE_NORMAL,
      dtype=dtype,
      rngs=rngs,
    )
    norm = partial(nnx.BatchNorm, features, momentum=0.9, dtype=dtype, rngs=rngs)
    self.conv1, self.norm1 = conv(inputs, features, strides=stride), norm()
    self.conv2, self.norm2 = conv(features, features), norm()
    self.stride, self.widening = stride, features - inputs

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.norm1(self.conv1(x)))
    y = self.norm2(self.conv2(y))
    shortcut = x[:, :: self.stride, :: self.stride]
    shortcut = jnp.pad(shortcut, [(0, 0)] * 3 + [(0, self.widening)])
    return nnx.relu(y + shortcut)


class ResNet(nnx.Module):
  """Three stages of ``(depth - 2) / 6`` blocks with 1, 2 and 4 times `width` features.

  On CIFAR-10 ResNet-20 has 269,722 parameters and ResNet-56 853,018, of which 268,336
  and 848,944 are in kernels. Parameters are float32; `dtype` is the type to compute in.
  """

  def __init__(
    self,
    image_shape: tuple[int, ...],
    num_classes: int,
    rngs: nnx.Rngs,
    depth: int = 56,
    width: int = 16,
    dtype: Any = None,
  ):
    if depth < 8 or (depth - 2) % 6:
      raise ValueError(f"depth must be 8, 14, 20, … (6n + 2), not {depth}.")
    blocks = (depth - 2) // 6
    self.conv = nnx.Conv(
      in_features=image_shape[-1],
      out_features=width,
      kernel_size=(3, 3),
      use_bias=False,
      kernel_init=HE_NORMAL,
      dtype=dtype,
      rngs=rngs,
    )
    self.norm = nnx.BatchNorm(width, momentum=0.9, dtype=dtype, rngs=rngs)
    widths = [width, *[width] * blocks, *[2 * width] * blocks, *[4 * width] * blocks]
    self.blocks = nnx.List(
      [
        Block(inputs, features, features // inputs, rngs, dtype)
        for inputs, features in pairwise(widths)
      ]
    )
    self.dense = nnx.Linear(4 * width, num_classes, dtype=dtype, rngs=rngs)

  def __call__(self, images: jax.Array) -> jax.Array:
    x = nnx.relu(self.norm(self.conv(images)))
    for block in self.blocks:
      x = block(x)
    return self.dense(x.mean(axis=(1, 2))).astype("float32")


build = ResNet
