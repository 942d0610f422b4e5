"""Which leaves are kernels, by their shapes and by the names that frameworks give."""

import re
from typing import Any

import jax

from gsm_optax._checks import is_known
from gsm_optax._threshold import varying_axes

NOT_KERNELS = frozenset(
  (
    *("bias", "biases", "scale", "scales", "offset", "offsets", "shift"),
    *("gamma", "gammas", "beta", "betas", "gain", "mean", "var", "variance", "lora"),
    *("embedding", "embeddings", "embed", "emb", "embs", "posemb", "wte", "wpe"),
    *("pos", "position", "positions", "token", "tokens", "cls"),
  )
)
"""Words that say of a leaf that it is no kernel, as the last of its name."""

NORMALISATIONS = frozenset({"ln", "bn", "gn", "normalization", "normalisation"})
"""Words for modules whose leaves are no kernels, beside all that end with ``norm``."""

TYPES = ("Norm", "Embedding")
"""Ends of the names of Equinox's modules whose leaves are no kernels."""


def kernels(params: Any) -> Any:
  """The default `prunable`: kernels, of dense, convolution and attention layers.

  A leaf is a kernel if at least two of its axes are longer than 1, and if nothing says
  that it is anything else. What says so is: the leaf's own name, if its last word is
  that of a bias, scale, offset, embedding, position, token or LoRA factor, as in
  ``query_bias``, ``pos_embedding`` or ``lora_a``; the name of the module that holds it,
  if its last word is that of a normalisation, as in ``layer_norm_1``, ``ln`` or
  ``BatchNorm_0``, unless the leaf is called ``kernel``; and in Equinox the type of that
  module: a normalisation or an embedding.

  Inside of `jax.shard_map` only shards can be seen: there all axes count as longer.

  Args:
    params: any pytree.

  Returns:
    A tree with the structure of the params and a bool for each leaf.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> params = {
    ...   "embedding": jnp.ones((9, 4)),
    ...   "Dense_0": {"kernel": jnp.ones((4, 8)), "bias": jnp.ones(8)},
    ...   "LayerNorm_0": {"scale": jnp.ones((2, 4))},
    ... }
    >>> gsm_optax.kernels(params)["Dense_0"]
    {'bias': False, 'kernel': True}
    >>> gsm_optax.kernels(params)["embedding"], gsm_optax.kernels(params)["LayerNorm_0"]
    (False, {'scale': False})
  """
  paths = [_names(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
  return _chosen(params, (), frozenset(paths))


def normalisations(params: Any) -> Any:
  """Marks the scales and offsets of normalisations, recognised as by `kernels`.

  Args:
    params: any pytree.

  Returns:
    A tree with the structure of the params and a bool for each leaf.
  """

  def of_leaf(path: tuple[Any, ...], part: Any) -> Any:
    if _is_normalisation(part):
      return jax.tree.map(lambda _: True, part)
    return _is_named_as_normalised(_names(path))

  return jax.tree_util.tree_map_with_path(of_leaf, params, is_leaf=_is_normalisation)


def _is_normalisation(node: Any) -> bool:
  return _is_of_no_kernels(node, ("Norm",))


def _chosen(node: Any, path: tuple[Any, ...], names: frozenset[tuple[str, ...]]) -> Any:
  """What of a node are kernels.

  Args:
    node: a part of the params.
    path: where it is.
    names: of all leaves.
  """
  holds_none = _is_of_no_kernels(node)

  def choose(below: tuple[Any, ...], part: Any) -> Any:
    if part is not node and _is_of_no_kernels(part):
      return _chosen(part, (*path, *below), names)
    if holds_none and len(below) == 1:
      return False  # but not what is in a module within
    name = _names((*path, *below))
    # Haiku's bias, which is `b` beside a `w`; a matrix `b` beside an `a` is a kernel.
    *modules, leaf = name
    is_b = re.fullmatch(r"b\d*", leaf) and (*modules, f"w{leaf[1:]}") in names
    return _is_long(part) and not (is_b or _is_named_otherwise(name))

  return jax.tree_util.tree_map_with_path(
    choose, node, is_leaf=lambda part: part is not node and _is_of_no_kernels(part)
  )


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
  """The names on a path; an NNX variable's array is its ``value``, which is no name."""
  names = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
  return tuple(names[:-1] if names[1:] and names[-1] == "value" else names)


def _is_of_no_kernels(node: Any, types: tuple[str, ...] = TYPES) -> bool:
  """Whether a node is a module of a normalisation or an embedding, as in Equinox."""
  if isinstance(node, dict | list | tuple) or hasattr(node, "dtype"):
    return False
  return any(kind.__name__.endswith(types) for kind in type(node).__mro__)


def _is_long(leaf: Any) -> bool:
  shape = getattr(leaf, "shape", ())
  if not is_known(leaf) and varying_axes(leaf):
    # The shape is that of a shard, in which a longer axis may have the length 1.
    return len(shape) > 1
  return sum(length > 1 for length in shape) > 1


def _is_named_otherwise(names: tuple[str, ...]) -> bool:
  words = [found for name in names if (found := _words(name))]
  if not words:
    return False
  leaf, module = words[-1], words[-2][-1] if words[1:] else ""
  return (
    leaf[-1] in NOT_KERNELS
    or "lora" in leaf
    or (leaf == ["b"] and module == "bias")
    or _is_named_as_normalised(names)
  )


def _is_named_as_normalised(names: tuple[str, ...]) -> bool:
  words = [found for name in names if (found := _words(name))]
  if len(words) < 2:
    return False
  leaf, module = words[-1], words[-2][-1]
  is_of_normalisation = module in NORMALISATIONS or module.endswith("norm")
  return is_of_normalisation and leaf[-1] != "kernel"


def _words(name: str) -> list[str]:
  """The words of a name in lower case: ``pos_embedding``, ``LayerNorm_0``."""
  return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
