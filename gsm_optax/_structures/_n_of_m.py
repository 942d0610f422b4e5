"""n of every m consecutive weights, as some processors want it."""

from typing import Any

import jax
import jax.numpy as jnp

from gsm_optax._structures._structure import Structure
from gsm_optax._structures._tiles import check_divides, cut_axes, is_whole, join_axes
from gsm_optax._trees import path_name


def n_of_m(n: int, m: int, axis: int = -2) -> Structure:
  """Keeps n of every m consecutive weights along an axis.

  Here weights compete with their neighbours alone, so there is no density to choose,
  and no threshold: the `density` of the functions that take this structure is not used.
  Two of four along the axis that a product sums over is what NVIDIA's sparse tensor
  cores take; that is the last axis but one of a dense or convolution kernel of Flax and
  Haiku. Flax's attention has kernels of three axes, of which it sums over others.

  Args:
    n: how many weights are kept of each group; where saliencies tie in training, more
      are active.
    m: how many weights are in a group.
    axis: along which they are consecutive.

  Returns:
    A structure, for `gsm`, `sparsify`, `prune` and others.

  Raises:
    ValueError: if not ``0 < n < m``; from where the structure is used, if a prunable
      leaf does not have the axis, or its length is no multiple of m.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> weights = jnp.array([[1.0, 8.0], [2.0, 7.0], [3.0, 6.0], [4.0, 5.0]])
    >>> structure = gsm_optax.n_of_m(2, 4)
    >>> print(gsm_optax.magnitude_mask(weights, structure=structure))
    [[False  True]
     [False  True]
     [ True False]
     [ True False]]
  """
  for name, value in (("n", n), ("m", m), ("axis", axis)):
    if not is_whole(value):
      raise ValueError(f"`{name}` must be a whole number, not {value!r}.")
  if not 0 < n < m:
    raise ValueError(f"n_of_m keeps n of m, with 0 < n < m, not {n} of {m}.")
  name = f"n_of_m({n}, {m}, axis={axis})"

  def last(leaf: jax.Array) -> jax.Array:
    """With the members of a group along the last axis."""
    lengths = [1] * leaf.ndim
    lengths[axis] = m
    return jnp.moveaxis(cut_axes(leaf, lengths), 2 * (axis % leaf.ndim) + 1, -1)

  def to_units(scores: Any) -> Any:
    def of_leaf(path: Any, leaf: jax.Array) -> jax.Array:
      check_divides(name, path_name(path), leaf.shape, axis, m)
      return last(leaf)

    return jax.tree_util.tree_map_with_path(of_leaf, scores)

  def to_weights(masks: Any, scores: Any) -> Any:
    def of_leaf(mask: jax.Array, leaf: jax.Array) -> jax.Array:
      return join_axes(jnp.moveaxis(mask, -1, 2 * (axis % leaf.ndim) + 1), leaf.shape)

    return jax.tree.map(of_leaf, masks, scores)

  return Structure(to_units, to_weights, kept_of_last_axis=int(n), description=name)
