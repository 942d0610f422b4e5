"""Removing weights: masks of the greatest magnitudes, and training the survivors on."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gsm_optax._threshold import check_density, largest
from gsm_optax._trees import Prunable, is_hole, match, prunable_leaves, prunable_tree


def magnitude_mask(
  params: Any, density: float | jax.Array, *, prunable: Prunable = None
) -> Any:
  r"""True for the Q prunable weights of the greatest magnitude in the whole model.

  .. math:: M(w) = [\, |w| \text{ is among the Q greatest} \,], \qquad
    Q = \lfloor density \cdot n \rfloor

  Of weights with the same magnitude the first ones are kept, in the order of the tree's
  leaves and within a leaf in row-major order, so that exactly Q are True, with and
  without `jax.jit` and however the params are sharded. A NaN counts as infinite.

  Args:
    params: any pytree.
    density: the share of the prunable weights to keep, in (0, 1]; it may be traced, and
      is then clipped so that 1 <= Q <= n.
    prunable: which leaves are pruned, as `optax.masked` takes its ``mask``; ``None``:
      the leaves with two or more dimensions.

  Returns:
    A tree with the structure of the params and a boolean array of each leaf's shape,
    all True where a leaf is not prunable.

  Raises:
    ValueError: for a density that is known to be outside (0, 1], or a Python number so
      small that Q is 0, for params of which nothing is prunable, and for a `prunable`
      that does not fit.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> params = {"kernel": jnp.array([[1.0, -3.0], [2.0, 2.0]]), "bias": jnp.ones(2)}
    >>> print(gsm_optax.magnitude_mask(params, 0.5)["kernel"])
    [[False  True]
     [ True False]]
  """
  check_density(density)
  remaining = iter(largest(prunable_leaves(prunable, params), density))
  return jax.tree.map(
    lambda leaf, prune: next(remaining) if prune else _all_true(leaf),
    params,
    prunable_tree(prunable, params),
  )


def _all_true(leaf: Any) -> Any:
  return jnp.ones_like(leaf, bool) if hasattr(leaf, "shape") else True


def apply_mask(params: Any, mask: Any) -> Any:
  """Sets the weights to exactly zero where the mask is False.

  Args:
    params: any pytree.
    mask: a tree of the same structure with booleans that broadcast to each leaf, as
      `magnitude_mask` makes it.

  Returns:
    A tree like `params`, of the same types.

  Raises:
    ValueError: if the structures differ.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> print(gsm_optax.apply_mask(jnp.array([1.0, 2.0]), jnp.array([True, False])))
    [1. 0.]
  """
  leaves, structure = jax.tree.flatten(params, is_leaf=is_hole)
  masked = [
    leaf
    if is_hole(leaf) or keep is True
    else jnp.where(keep, leaf, jnp.zeros_like(leaf))
    for leaf, keep in zip(leaves, match(mask, params), strict=True)
  ]
  return jax.tree.unflatten(structure, masked)


def prune(params: Any, density: float | jax.Array, *, prunable: Prunable = None) -> Any:
  """Keeps the Q prunable weights of the greatest magnitude, and zeroes the others.

  The same as `apply_mask` with the `magnitude_mask`. After training with `gsm` the
  others are so small that this changes nothing that can be measured; compare the
  accuracy before and after.

  Args:
    params: any pytree.
    density: the share of the prunable weights to keep, in (0, 1]; may be traced.
    prunable: as for `gsm`.

  Returns:
    A tree like `params`, in which at most Q prunable weights are not zero: exactly Q,
    unless fewer were to begin with.

  Raises:
    ValueError: as `magnitude_mask` does.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> print(gsm_optax.prune(jnp.array([[1.0, -3.0], [2.0, 2.0]]), 0.5))
    [[ 0. -3.]
     [ 2.  0.]]
  """
  return apply_mask(params, magnitude_mask(params, density, prunable=prunable))


def freeze_pruned(mask: Any) -> optax.GradientTransformation:
  r"""Zeroes the updates where the mask is False, so that pruned weights stay zero.

  .. math:: u \leftarrow M \circ u

  Place it last in a chain: momentum, decay or Adam's statistics before it then cannot
  move a pruned weight. What is not a number does not pass either.

  Args:
    mask: a tree with the structure of the params and booleans that broadcast to each
      leaf, as `magnitude_mask` makes it.

  Returns:
    A transformation without state.

  Raises:
    ValueError: by ``update``, if the mask does not have the structure of the updates.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import gsm_optax
    >>> params = gsm_optax.prune(jnp.array([[1.0, -3.0], [2.0, 2.0]]), 0.5)
    >>> mask = gsm_optax.magnitude_mask(params, 0.5)
    >>> tx = optax.chain(optax.adam(0.1), gsm_optax.freeze_pruned(mask))
    >>> updates, _ = tx.update(jnp.ones((2, 2)), tx.init(params), params)
    >>> print(optax.apply_updates(params, updates) != 0)
    [[False  True]
     [ True False]]
  """

  def update_fn(
    updates: optax.Updates, state: Any, params: optax.Params | None = None
  ) -> tuple[optax.Updates, Any]:
    del params
    return apply_mask(updates, mask), state

  return optax.GradientTransformation(optax.init_empty_state, update_fn)
