"""Pruning by magnitude, and training the remaining weights further."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gsm_optax._checks import is_known
from gsm_optax._mistakes import check_is_params
from gsm_optax._structures import (
  Leaves,
  Structure,
  check_choice,
  count_units,
  largest_of,
  with_structure,
)
from gsm_optax._threshold import cut_off, is_nonzero
from gsm_optax._trees import Prunable, is_hole, match, prunable_leaves, prunable_tree


def magnitude_mask(
  params: Any,
  density: float | jax.Array | None = None,
  *,
  prunable: Prunable = None,
  structure: Structure | None = None,
) -> Any:
  r"""Marks the Q prunable weights of greatest magnitude in the whole model.

  .. math:: M(w) = [\, |w| \text{ is among the Q greatest} \,], \qquad
    Q = \lfloor density \cdot n \rfloor

  Among equal magnitudes the first are kept, in leaf order and then in row-major order,
  so exactly Q weights are True, with or without `jax.jit` and however the params are
  sharded. NaN counts as infinite.

  Args:
    params: any pytree.
    density: the share of the prunable weights to keep, in (0, 1]. A traced value is
      clipped so that 1 <= Q <= n. It must be given, but for `n_of_m`.
    prunable: which leaves are pruned, in the form of `optax.masked`'s ``mask``.
      ``None`` selects `kernels`.
    structure: what is kept together, as in `keep_top_saliency`: exactly Q of its units
      are kept, those of the greatest sums of magnitudes.

  Returns:
    A tree with the structure of the params that holds a boolean array of each leaf's
    shape, all True for leaves that are not prunable.

  Raises:
    ValueError: if the density is known to be outside (0, 1] or is a Python number so
      small that Q is 0, if nothing in the params is prunable, if `prunable` does not
      fit the params, or if a `TrainState`, a model's variables or the state of an
      optimizer are given in their place.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> params = {"kernel": jnp.array([[1.0, -3.0], [2.0, 2.0]]), "bias": jnp.ones(2)}
    >>> print(gsm_optax.magnitude_mask(params, 0.5)["kernel"])
    [[False  True]
     [ True False]]
  """
  check_choice(density, structure)
  check_is_params(params)
  prunable = with_structure(prunable, structure)
  weights = prunable_leaves(prunable, params)
  where = Leaves.of(prunable, params)
  if structure is not None:
    units = count_units(structure, where, weights)
    check_choice(density, structure, units or None)
  remaining = iter(largest_of(structure, where, weights, density))
  return jax.tree.map(
    lambda leaf, prune: next(remaining) if prune else _all_true(leaf),
    params,
    prunable_tree(prunable, params),
  )


def _all_true(leaf: Any) -> Any:
  return jnp.ones_like(leaf, bool) if hasattr(leaf, "shape") else True


def apply_mask(params: Any, mask: Any) -> Any:
  """Sets weights to exactly zero where the mask is False.

  Args:
    params: any pytree.
    mask: a tree of the same structure, such as `magnitude_mask` returns, with booleans
      that broadcast to each leaf.

  Returns:
    A tree like `params`, with the same types.

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


def nonzero_mask(params: Any, *, prunable: Prunable = None) -> Any:
  """Marks the weights that are not zero, of a model that was pruned before.

  With `freeze_pruned` it is trained on with its zeros held; with `apply_mask` they come
  back after something else was added to the weights, such as the product of a LoRA's
  factors.

  Args:
    params: any pytree.
    prunable: the leaves whose zeros count. ``None`` selects `kernels`: a bias that
      happens to be zero goes on learning.

  Returns:
    A tree with the structure of the params that holds a boolean array of each leaf's
    shape, all True for leaves that are not prunable.

  Raises:
    ValueError: as in `magnitude_mask`.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> params = {"kernel": jnp.array([[1.0, 0.0], [0.0, 2.0]]), "bias": jnp.zeros(2)}
    >>> mask = gsm_optax.nonzero_mask(params)
    >>> print(mask["kernel"], mask["bias"])
    [[ True False]
     [False  True]] [ True  True]
  """
  check_is_params(params)
  nonzero = iter(is_nonzero(leaf) for leaf in prunable_leaves(prunable, params))
  return jax.tree.map(
    lambda leaf, prune: next(nonzero) if prune else _all_true(leaf),
    params,
    prunable_tree(prunable, params),
  )


def prune(
  params: Any,
  density: float | jax.Array | None = None,
  *,
  prunable: Prunable = None,
  structure: Structure | None = None,
) -> Any:
  """Keeps the Q prunable weights of greatest magnitude and zeroes the others.

  Equivalent to `apply_mask` with the mask from `magnitude_mask`, and a warning where
  much would be cut off: after training with `gsm` or `sparsify` the others should be so
  small that zeroing them has no measurable effect. Compare the loss before and after;
  less than what is warned of can be felt too.

  Args:
    params: any pytree.
    density: the share of the prunable weights to keep, in (0, 1]; may be traced. It
      must be given, but for `n_of_m`.
    prunable: as in `gsm`.
    structure: as in `gsm`. All weights of the units that are not kept become zero; with
      `channels`, `shrink` then takes them out.

  Returns:
    A tree like `params` with exactly Q non-zero prunable weights, or units, or fewer if
    fewer were non-zero to begin with.

  Raises:
    ValueError: as in `magnitude_mask`.

  Warns:
    UserWarning: outside of `jax.jit`, if what is zeroed holds more than 2 % of the
      weights' squared norm.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> print(gsm_optax.prune(jnp.array([[1e-9, -3.0], [2.0, 1e-7]]), 0.5))
    [[ 0. -3.]
     [ 2.  0.]]
  """
  mask = magnitude_mask(params, density, prunable=prunable, structure=structure)
  prunable = with_structure(prunable, structure)
  leaves = prunable_leaves(prunable, params)
  if all(map(is_known, leaves)) and is_known(density):
    chosen = jax.tree.leaves(prunable_tree(prunable, params))
    both = zip(jax.tree.leaves(mask), chosen, strict=True)
    masks = [each for each, is_chosen in both if is_chosen]
    cut = cut_off(leaves, masks)
    if cut.share > NOT_VANISHED:
      warnings.warn(
        f"What is zeroed has not vanished: it holds {cut.share:.1%} of the squared norm"
        f" of the weights, and the greatest of it is {cut.zeroed:.2g}, beside"
        f" {cut.kept:.2g}, the smallest that is kept, so the model will compute"
        " something else; train until it vanishes (see `share_left`), or prune by"
        " magnitude with `apply_mask(params, magnitude_mask(params, density))`, and the"
        " same `structure` if there is one.",
        stacklevel=2,
      )
  return apply_mask(params, mask)


NOT_VANISHED = 0.02
"""Share of the squared norm of the weights: beyond it they surely have not vanished.

The weights at ranks Q and Q + 1 say less: after GSM they are often alike, as some more
than Q weights take turns, while all behind these have vanished.
"""


def freeze_pruned(mask: Any) -> optax.GradientTransformation:
  r"""Zeroes the updates where the mask is False, so that pruned weights stay zero.

  .. math:: u \leftarrow M \circ u

  Place it last in a chain, so that no momentum, decay or Adam statistics before it can
  move a pruned weight. NaN updates of pruned weights become zero too.

  Args:
    mask: a tree with the structure of the params, such as `magnitude_mask` returns,
      with booleans that broadcast to each leaf.

  Returns:
    A stateless transformation.

  Raises:
    ValueError: from ``update``, if the mask does not have the structure of the updates.

  Example:
    >>> import jax.numpy as jnp, optax
    >>> import gsm_optax
    >>> params = jnp.array([[0.0, -3.0], [2.0, 0.0]])
    >>> mask = gsm_optax.nonzero_mask(params)
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
