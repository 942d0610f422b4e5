"""Which leaves are kernels: what is pruned, and what decays."""

from typing import Any

import jax


def is_kernel(leaf: Any) -> bool:
  """Whether a leaf has two or more dimensions, as `gsm_optax` prunes by default."""
  return leaf.ndim > 1


def kernel_mask(params: Any) -> Any:
  """A boolean tree like the params: True for kernels."""
  return jax.tree.map(is_kernel, params)


def kernels(params: Any) -> list[Any]:
  """The kernels, in the order of the tree."""
  return [leaf for leaf in jax.tree.leaves(params) if is_kernel(leaf)]
