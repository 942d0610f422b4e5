"""Saliencies: functions that score each weight by how much it matters."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from gsm_optax._checks import check_share

Saliency: TypeAlias = Callable[[jax.Array, jax.Array], jax.Array]
"""``(gradient, weight) -> scores``: arrays of one shape, with floating-point scores."""


def first_order_taylor(gradient: jax.Array, weight: jax.Array) -> jax.Array:
  r"""The paper's saliency of each weight, always computed in float32.

  .. math:: T(w) = \left| \frac{\partial L}{\partial w} \, w \right|

  Half precision would underflow: a gradient of 1e-6 times a weight of 1e-3 is 0 in
  float16. Products below 1.2e-38 are 0 where XLA flushes subnormals, as on CPUs.

  Args:
    gradient: floating-point or complex, of any shape.
    weight: of the same shape.

  Returns:
    The saliencies, as float32 of the same shape.

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
  r"""The magnitude of each weight, regardless of its gradient: :math:`T(w) = |w|`.

  The selection then hardly changes from step to step: small weights stay passive.

  Args:
    gradient: unused.
    weight: floating-point or complex, of any shape.

  Returns:
    The magnitudes, as float32 of the same shape.

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

  This is the criterion of top-k gradient sparsification, as in meProp.

  Args:
    gradient: floating-point or complex, of any shape.
    weight: unused.

  Returns:
    The magnitudes, as float32 of the same shape.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> print(gsm_optax.gradient_magnitude(jnp.array([2.0, -1.0]), jnp.ones(2)))
    [2. 1.]
  """
  del weight
  return jnp.abs(gradient).astype(jnp.float32)


class Scoring(NamedTuple):
  """How the weights of a leaf are scored in a step.

  Costly work is done once, in `operands`; `score` is cheap and may be repeated.

  Attributes:
    operands: ``(gradient, weight, average) -> (arrays, new average)``, where the leaf's
      scores are computed from the arrays. The average is unused without smoothing.
    score: ``(*arrays) -> scores``, float32 and non-negative. NaN scores are not ranked.
  """

  operands: Callable[[jax.Array, jax.Array, Any], tuple[tuple[jax.Array, ...], Any]]
  score: Callable[..., jax.Array]

  @classmethod
  def by(cls, saliency: Saliency | None, smoothing: Any) -> "Scoring":
    """Scores by `saliency` (None: the paper's), averaged if `smoothing` is given."""
    if saliency is not None and not callable(saliency):
      raise ValueError(
        "`saliency` must be a function of a gradient and a weight, or None, not"
        f" {saliency!r}."
      )
    if saliency is None and smoothing is None:
      return cls(lambda g, w, average: ((g, w), average), first_order_taylor)

    def operands(
      gradient: jax.Array, weight: jax.Array, average: Any
    ) -> tuple[tuple[jax.Array, ...], Any]:
      # Given whole leaves, a saliency may look at more than one weight at a time.
      scores = first_order_taylor if saliency is None else partial(_checked, saliency)
      now = scores(gradient, weight)
      if smoothing is None:
        return (now,), average
      moved = (smoothing * average + (1 - smoothing) * now).astype(jnp.float32)
      is_finite = jnp.isfinite(now)
      kept = jnp.where(is_finite, moved, average)
      return (jnp.where(is_finite, moved, jnp.nan),), kept

    return cls(operands, _as_computed)


def _as_computed(scores: jax.Array) -> jax.Array:
  return scores


def _checked(saliency: Saliency, gradient: jax.Array, weight: jax.Array) -> jax.Array:
  """The user's scores as non-negative float32, after checking them."""
  scores: Any = saliency(gradient, weight)
  kind, shape = getattr(scores, "dtype", object), getattr(scores, "shape", None)
  if shape != weight.shape or not jnp.issubdtype(kind, jnp.floating):
    raise ValueError(
      "`saliency` must return a floating-point score for each weight of shape"
      f" {weight.shape}, but it returned {type(scores).__name__} of {kind} and shape"
      f" {shape}."
    )
  scores = scores.astype(jnp.float32)
  # By the sign bit, -0.0 included: a comparison of floats may flush subnormals.
  return jnp.where(jnp.signbit(scores) & ~jnp.isnan(scores), 0.0, scores)


def check_smoothing(smoothing: Any) -> None:
  """Raises a ValueError if `smoothing` is known not to be a decay rate."""
  if callable(smoothing):
    raise ValueError("`smoothing` must be a number in [0, 1), not a function.")
  check_share(
    "smoothing",
    smoothing,
    "It is the decay rate of the average saliency: 0.9 averages over about ten"
    " steps; None turns averaging off.",
  )
