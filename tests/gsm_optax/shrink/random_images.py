"""Layers of images, and what makes features of them, for random networks."""

import jax
import jax.numpy as jnp
from jax import lax

from tests.gsm_optax.shrink.random_layers import dense

IMAGES = ("NHWC", "HWIO", "NHWC")


def convolved(p, h, n, window=(3, 3), **options):
  groups = options.get("feature_group_count", 1)
  kernel = p(*window, h.shape[-1] // groups, n)
  options = {"window_strides": (1, 1), "padding": "SAME", **options}
  h = lax.conv_general_dilated(h, kernel, dimension_numbers=IMAGES, **options)
  return h + p(n)


def pooled(h, function, start, window, padding, strides=(1, 1)):
  window, strides = (1, *window, 1), (1, *strides, 1)
  return lax.reduce_window(h, start, function, window, strides, padding)


IMAGE_PARTS = {
  "conv": lambda p, h: convolved(p, h, 4),
  "strided": lambda p, h: convolved(p, h, 3, (2, 2), window_strides=(2, 2)),
  "valid": lambda p, h: convolved(p, h, 3, (2, 1), padding="VALID"),
  "dilated": lambda p, h: convolved(p, h, 4, (2, 2), rhs_dilation=(2, 2)),
  "transposed": lambda p, h: convolved(
    p, h, 3, (2, 2), lhs_dilation=(2, 2), padding=((1, 1), (1, 1))
  )[:, :4, :4],
  "depthwise": lambda p, h: convolved(
    p, h, 2 * h.shape[-1], feature_group_count=h.shape[-1]
  ),
  "grouped": lambda p, h: convolved(p, convolved(p, h, 4), 6, feature_group_count=2),
  "residual": lambda p, h: h + convolved(p, jax.nn.relu(h), h.shape[-1]),
  "max pool": lambda _, h: pooled(h, lax.max, -jnp.inf, (2, 2), "SAME", (2, 2)),
  "padded max": lambda _, h: jnp.maximum(
    pooled(h, lax.max, -jnp.inf, (2, 1), ((0, 0), (2, 0), (0, 0), (0, 0))), -1
  ),
  "mean pool": lambda _, h: pooled(h, lax.add, 0.0, (2, 2), "SAME") / 4,
  "padded image": lambda _, h: jnp.pad(
    h, ((0, 0), (1, 0), (0, 0), (0, 1)), constant_values=0.4
  ),
  "squeezed": lambda p, h: (
    h * jax.nn.sigmoid(dense(p, h.mean((1, 2)), h.shape[-1]))[:, None, None]
  ),
}


HEADS = {
  "flat": lambda p, h: dense(p, h.reshape(h.shape[0], -1), 4),
  "mean": lambda _, h: h.mean((1, 2)),
  "max": lambda p, h: h.max((1, 2)) + p(h.shape[-1]),
  "channels first": lambda p, h: jnp.einsum(
    "ncs,csk->nk",
    jnp.moveaxis(h, -1, 1).reshape(h.shape[0], h.shape[-1], -1),
    p(h.shape[-1], h.shape[1] * h.shape[2], 3),
  ),
}
