"""Scores of weights: how much the loss would change without them."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from gsm_optax._trees import is_known

Saliency: TypeAlias = Callable[[jax.Array, jax.Array], jax.Array]
"""``(gradient, weight) -> scores``: arrays of one shape; the scores floating-point."""


def first_order_taylor(gradient: jax.Array, weight: jax.Array) -> jax.Array:
  r"""The paper's saliency of each weight, in float32 whatever the arguments' types.

  .. math:: T(w) = \left| \frac{\partial L}{\partial w} \, w \right|

  Half precision would underflow: a gradient of 1e-6 times a weight of 1e-3 is 0 in
  float16. Products below 1.2e-38 are 0 where XLA flushes subnormals, as on a CPU.

  Args:
    gradient: of any shape; floating-point or complex.
    weight: of the same shape.

  Returns:
    The saliencies, float32 of that shape.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> gradient, weight = jnp.array([2.0, -1.0]), jnp.array([3.0, 4.0])
    >>> print(gsm_optax.first_order_taylor(gradient, weight))
    [6. 4.]

  References:
    Ding et al., `Global Sparse Momentum SGD for Pruning Very Deep Neural Networks
    <https://arxiv.org/abs/1909.12778>`_, 2019, equation 5.
  """
  return gradient_magnitude(gradient, weight) * magnitude(gradient, weight)


def magnitude(gradient: jax.Array, weight: jax.Array) -> jax.Array:
  r"""The magnitude of each weight, whatever its gradient: :math:`T(w) = |w|`.

  The choice then hardly changes from step to step: what is small stays passive.

  Args:
    gradient: not used.
    weight: of any shape; floating-point or complex.

  Returns:
    The magnitudes, float32 of that shape.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> print(gsm_optax.magnitude(jnp.array([2.0, -1.0]), jnp.array([3.0, -4.0])))
    [3. 4.]
  """
  del gradient
  return jnp.abs(weight).astype(jnp.float32)


def gradient_magnitude(gradient: jax.Array, weight: jax.Array) -> jax.Array:
  r"""The magnitude of each gradient: :math:`T(w) = |\partial L / \partial w|`.

  The choice of top-k gradient sparsification, as in meProp.

  Args:
    gradient: of any shape; floating-point or complex.
    weight: not used.

  Returns:
    The magnitudes, float32 of that shape.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> print(gsm_optax.gradient_magnitude(jnp.array([2.0, -1.0]), jnp.ones(2)))
    [2. 1.]
  """
  del weight
  return jnp.abs(gradient).astype(jnp.float32)


def check_smoothing(smoothing: Any) -> None:
  """Raises a ValueError for what is known not to be an average's decay rate."""
  if smoothing is None:
    return
  is_number = isinstance(smoothing, int | float | np.number | np.ndarray | jax.Array)
  if isinstance(smoothing, bool) or not is_number or np.shape(smoothing):
    raise ValueError(f"`smoothing` must be a number in [0, 1), not {smoothing!r}.")
  if is_known(smoothing) and not 0 <= smoothing < 1:
    raise ValueError(
      f"`smoothing` must be in [0, 1), but it is {smoothing}. It is the decay rate of"
      " the average saliency: 0.9 averages over some ten steps; None does not average."
    )
