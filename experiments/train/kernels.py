"""Which leaves are kernels: what is pruned, and what decays."""

from typing import Any

import jax

from gsm_optax import kernels as kernel_mask

__all__ = ["is_kernel", "kernel_mask", "kernels"]


def is_kernel(leaf: Any) -> bool:
  """Whether a leaf is a kernel by its shape, in networks without embeddings."""
  return bool(kernel_mask(leaf))


def kernels(params: Any) -> list[Any]:
  """The kernels, in the order of the tree."""
  masks = jax.tree.leaves(kernel_mask(params))
  leaves = jax.tree.leaves(params)
  return [leaf for leaf, is_kernel in zip(leaves, masks, strict=True) if is_kernel]
