"""Scores of weights: how much the loss would change without them."""

import jax
import jax.numpy as jnp


def first_order_taylor(gradient: jax.Array, weight: jax.Array) -> jax.Array:
  r"""The paper's saliency of each weight, in float32 whatever the arguments' types.

  .. math:: T(w) = \left| \frac{\partial L}{\partial w} \, w \right|

  Half precision would underflow: a gradient of 1e-6 times a weight of 1e-3 is 0 in
  float16.

  References:
    Ding et al., `Global Sparse Momentum SGD for Pruning Very Deep Neural Networks
    <https://arxiv.org/abs/1909.12778>`_, 2019, equation 5.
  """
  return jnp.abs(gradient).astype(jnp.float32) * jnp.abs(weight).astype(jnp.float32)
