"""Layers written so that they are quick inside `lax.scan` on a CPU.

There, XLA runs a convolution in a loop several times slower than outside of one. As
patches times a matrix it is no convolution any more.
"""

import jax
import jax.numpy as jnp
from flax import nnx


class Conv(nnx.Conv):
  """`nnx.Conv` without padding or strides; on a CPU it multiplies patches."""

  def __call__(self, inputs: jax.Array) -> jax.Array:  # pyright: ignore[reportIncompatibleMethodOverride]
    if jax.default_backend() != "cpu":
      return super().__call__(inputs)
    kernel = self.kernel[...]
    rows, columns, _, features = kernel.shape
    height, width = inputs.shape[1] - rows + 1, inputs.shape[2] - columns + 1
    patches = jnp.concatenate(
      [
        inputs[:, i : i + height, j : j + width]
        for i in range(rows)
        for j in range(columns)
      ],
      axis=-1,
    )
    assert self.bias is not None
    return patches @ kernel.reshape(-1, features) + self.bias[...]


def max_pool(inputs: jax.Array) -> jax.Array:
  """The greatest of each 2×2 square; a reshape and a max, quicker than a window."""
  n, height, width, channels = inputs.shape
  squares = inputs.reshape(n, height // 2, 2, width // 2, 2, channels)
  return squares.max(axis=(2, 4))
