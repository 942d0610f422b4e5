"""DenseNets for CIFAR, without bottlenecks (Huang et al., 2017, section 4)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

HE_NORMAL = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


class DenseNet(nnx.Module):
  """Three blocks of ``(depth - 4) / 3`` convolutions, each fed by all before it.

  Every convolution adds `growth` features; a 1×1 convolution and an average pooling lie
  between blocks. DenseNet-40 with a growth of 12 has 1,019,722 parameters on CIFAR-10,
  of which 1,001,616 are in kernels. `dtype` is the type to compute in.
  """

  def __init__(
    self,
    image_shape: tuple[int, ...],
    num_classes: int,
    rngs: nnx.Rngs,
    depth: int = 40,
    growth: int = 12,
    dtype: Any = None,
  ):
    if depth < 7 or (depth - 4) % 3:
      raise ValueError(f"depth must be 7, 10, 13, … (3n + 4), not {depth}.")
    if min(image_shape[:2]) < 4:
      raise ValueError("height and width must be 4 or more.")
    conv = partial(
      nnx.Conv, use_bias=False, kernel_init=HE_NORMAL, dtype=dtype, rngs=rngs
    )
    norm = partial(nnx.BatchNorm, momentum=0.9, dtype=dtype, rngs=rngs)
    layers = (depth - 4) // 3
    features = 16
    self.conv = conv(image_shape[-1], features, (3, 3))
    norms: list[nnx.BatchNorm] = []
    convs: list[nnx.Conv] = []
    for block in range(3):
      for _ in range(layers):
        norms.append(norm(features))
        convs.append(conv(features, growth, (3, 3)))
        features += growth
      if block < 2:
        norms.append(norm(features))
        convs.append(conv(features, features, (1, 1)))
    self.norms, self.convs = nnx.List(norms), nnx.List(convs)
    self.layers = layers
    self.norm = norm(features)
    self.dense = nnx.Linear(features, num_classes, dtype=dtype, rngs=rngs)

  def __call__(self, images: jax.Array) -> jax.Array:
    x = self.conv(images)
    for i, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
      y = conv(nnx.relu(norm(x)))
      if (i + 1) % (self.layers + 1):
        x = jnp.concatenate([x, y], axis=-1)
      else:
        x = nnx.avg_pool(y, (2, 2), strides=(2, 2))
    x = nnx.relu(self.norm(x))
    return self.dense(x.mean(axis=(1, 2))).astype("float32")


build = DenseNet
