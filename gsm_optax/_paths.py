"""Which leaves are prunable, by patterns on their paths."""

import difflib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax

from gsm_optax._kernels import kernels
from gsm_optax._trees import path_name


def paths(*patterns: str, exclude: str | Sequence[str] = ()) -> Callable[[Any], Any]:
  """A `prunable` that takes leaves by their paths, such as ``encoder/Dense_0/kernel``.

  In a pattern ``*`` stands for any characters, ``/`` included, ``?`` for one and
  ``[ab]`` for one of these. A pattern has to match the whole path, as
  `sparsity_report` prints it; where NNX puts a ``/value`` behind, it may be left out.

  Args:
    patterns: the leaves that match one of them are prunable; without any, `kernels`.
    exclude: a pattern, or several; what matches one of them is not prunable.

  Returns:
    A function from the params to a tree of booleans of the same structure.

  Raises:
    ValueError: from that function, if a pattern matches no leaf; the message tells what
      is near. Immediately, if a pattern is not a string.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> ones = jnp.ones((2, 2))
    >>> params = {"encoder": {"kernel": ones}, "head": {"kernel": ones}}
    >>> gsm_optax.paths("encoder/*")(params)
    {'encoder': {'kernel': True}, 'head': {'kernel': False}}
    >>> gsm_optax.paths(exclude="head/*")(params)
    {'encoder': {'kernel': True}, 'head': {'kernel': False}}
    >>> gsm_optax.paths("enc/kernel")(params)
    Traceback (most recent call last):
    ...
    ValueError: No leaf matches 'enc/kernel'; near are 'encoder/kernel', 'head/kernel'.
  """
  several = isinstance(exclude, list | tuple)
  excluded: list[Any] = list(exclude) if several else [exclude]
  given: tuple[Any, ...] = (*patterns, *excluded)
  for pattern in given:
    if not isinstance(pattern, str):
      raise ValueError(f"A pattern must be a string such as 'head/*', not {pattern!r}.")

  def prunable(params: Any) -> Any:
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for pattern in (*patterns, *excluded):
      if not any(_matches(name, pattern) for name in names):
        raise ValueError(f"No leaf matches {pattern!r}{_near(pattern, names)}")
    default = jax.tree.leaves(kernels(params))
    chosen = [
      (any(_matches(name, each) for each in patterns) if patterns else is_kernel)
      and not any(_matches(name, each) for each in excluded)
      for name, is_kernel in zip(names, default, strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(params), chosen)

  return prunable


def _matches(name: str, pattern: str) -> bool:
  names = (name, name.removesuffix("/value"))
  # A path as it is printed matches itself, whatever characters are in it.
  return pattern in names or any(fnmatchcase(each, pattern) for each in names)


def _near(pattern: str, names: Sequence[str]) -> str:
  near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
  if not near:
    return ": there are none."
  listed = ", ".join(map(repr, near))
  return f"; near are {listed}."
