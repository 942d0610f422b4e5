"""A pooled convolution that is quick inside `lax.scan` on a CPU.

There XLA runs a convolution in a loop several times slower than outside of one. As
patches times a matrix it is no convolution any more. With patches of 5×5 pixels, the
plain way, the pooling's gradient took longest: XLA wrote it transposed.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

TILE = 4
"""Neighbouring output columns computed by one row of the matrix product.

More make the patches smaller and the banded matrix emptier; 4 was quickest for LeNet-5.
"""


class ConvMaxPool(nnx.Conv):
  """`nnx.Conv` without padding or strides, then the greatest of each 2×2 square.

  Attributes:
    in_loop: whether it runs inside `lax.scan`.
  """

  in_loop: bool = True

  def __call__(self, inputs: jax.Array) -> jax.Array:  # pyright: ignore[reportIncompatibleMethodOverride]
    if jax.default_backend() != "cpu" or not self.in_loop:
      return max_pool(super().__call__(inputs))
    assert self.bias is not None
    return conv_max_pool(inputs, self.kernel[...]) + self.bias[...]


def max_pool(inputs: jax.Array) -> jax.Array:
  """The greatest of each 2×2 square; a reshape and a max, quicker than a window."""
  n, height, width, channels = inputs.shape
  squares = inputs.reshape(n, height // 2, 2, width // 2, 2, channels)
  return squares.max(axis=(2, 4))


def conv_max_pool(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
  """``max_pool(convolution)`` of (n, height, width, channels) as one matrix product.

  A row of patches holds all inputs of `TILE` neighbouring output columns, and a column
  of the matrix the kernel at the place of one of them, zeros elsewhere.
  """
  rows, columns, channels, features = kernel.shape
  n, height, width, _ = inputs.shape
  height, width = height - rows + 1, width - columns + 1
  tile = TILE if width % TILE == 0 else width
  reach = tile + columns - 1
  flat = inputs.reshape(n, -1, inputs.shape[2] * channels)
  patches = jnp.stack(
    [
      jnp.concatenate(
        [
          flat[:, row : row + height, start * channels : (start + reach) * channels]
          for row in range(rows)
        ],
        axis=-1,
      )
      for start in range(0, width, tile)
    ],
    axis=2,
  )
  # Even output columns before odd ones: pooling then compares whole halves of rows.
  order = [*range(0, tile, 2), *range(1, tile, 2)]
  places = np.zeros((columns, reach, tile), np.float32)
  for place, column in enumerate(order):
    places[range(columns), range(column, column + columns), place] = 1
  # Axes of the matrix: row, place in reach, channel, then place in tile, feature.
  matrix = jnp.zeros((rows, reach, channels, tile, features), kernel.dtype)
  for column in range(columns):
    place = places[column][:, None, :, None]
    matrix = matrix + place * kernel[:, column, None, :, None, :]
  pooled: Any = _matmul_max(
    patches.reshape(-1, rows * reach * channels),
    matrix.reshape(rows * reach * channels, tile * features),
    (n, height // 2, 2, width // tile, 2, tile // 2 * features),
  )
  return pooled.reshape(n, height // 2, width // 2, features)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _matmul_max(
  patches: jax.Array, matrix: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
  """``(patches @ matrix).reshape(shape)``, the greatest along axes 2 and 4."""
  return _forward(patches, matrix, shape)[0]


def _quarters(products: jax.Array) -> list[jax.Array]:
  return [products[:, :, i, :, j] for i in (0, 1) for j in (0, 1)]


def _forward(
  patches: jax.Array, matrix: jax.Array, shape: tuple[int, ...]
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  products = (patches @ matrix).reshape(shape)
  a, b, c, d = _quarters(products)
  greatest = jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
  return greatest, (patches, matrix, products, greatest)


def _backward(
  _: tuple[int, ...], residuals: tuple[jax.Array, ...], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The gradient goes to the first of equals, as in PyTorch and `reduce_window`."""
  patches, matrix, products, greatest = residuals
  taken = jnp.zeros(greatest.shape, bool)
  shares: list[jax.Array] = []
  for quarter in _quarters(products):
    first = (quarter == greatest) & ~taken
    taken |= first
    shares.append(jnp.where(first, gradient, 0))
  pairs = [jnp.stack(shares[:2], axis=3), jnp.stack(shares[2:], axis=3)]
  cotangent = jnp.stack(pairs, axis=2).reshape(patches.shape[0], -1)
  # Contracted over rows as they lie: autodiff's order makes XLA transpose them first.
  rows = (((0,), (0,)), ((), ()))
  return cotangent @ matrix.T, jax.lax.dot_general(patches, cotangent, rows)


_matmul_max.defvjp(_forward, _backward)
