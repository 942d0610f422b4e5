"""The interface of structures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from gsm_optax._threshold import check_density
from gsm_optax._trees import Prunable, prunable_tree


@dataclass(frozen=True, eq=False, repr=False)
class Structure:
  """What is kept or dropped together, and what competes with what.

  `blocks`, `n_of_m` and `channels` make one. Two functions make another, here one whose
  units are the rows of matrices:

  .. code-block:: python

    def to_units(scores):
      return jax.tree.map(lambda leaf: leaf.sum(1), scores)

    def to_weights(masks, scores):
      return jax.tree.map(
        lambda mask, leaf: jnp.broadcast_to(mask[:, None], leaf.shape), masks, scores
      )

    rows = gsm_optax.Structure(to_units, to_weights)

  Both get trees shaped like the params, with `optax.MaskedNode` where a leaf takes no
  part, which `jax.tree.map` passes over.

  Attributes:
    to_units: ``scores -> unit scores``. The scores of weights are float32 and not
      negative, those of units are any tree of such arrays, of any shapes; it is called
      with the saliencies in training, and with the magnitudes when the model is pruned.
      A unit whose score is zero is one that has been pruned; negative ones are
      refused where they are known, which in `jax.jit` they are not.
    to_weights: ``(unit masks, scores) -> masks``: boolean arrays for the units, in the
      tree that `to_units` returns, to boolean arrays of the leaves' shapes.
    prunable: which leaves have units, in the form of `optax.masked`'s ``mask``;
      ``None``: all that are prunable. Where the caller gives a `prunable` too, leaves
      take part that are in both.
    kept_of_last_axis: ``None``, and all units of the model compete; or how many of the
      units along the last axis of each array are kept, whatever the others are.
    totals: ``unit masks -> {name: (before, after)}``, with boolean NumPy arrays for the
      masks: what else is to be reported of the model, such as multiply-adds.
    description: what `str` returns.

  Raises:
    ValueError: if a function is none, or `kept_of_last_axis` no positive integer.
  """

  to_units: Callable[[Any], Any]
  to_weights: Callable[[Any, Any], Any]
  prunable: Prunable = None
  kept_of_last_axis: int | None = None
  totals: Callable[[Any], Mapping[str, tuple[int, int]]] | None = None
  description: str = "Structure"

  def __post_init__(self) -> None:
    """Checks the arguments."""
    for name in ("to_units", "to_weights"):
      if not callable(function := getattr(self, name)):
        raise ValueError(f"`{name}` must be a function, not {function!r}.")
    n: Any = self.kept_of_last_axis
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
      raise ValueError(
        f"`kept_of_last_axis` must be a positive integer or None, not {n!r}."
      )

  def __str__(self) -> str:
    """The units, in words."""
    return self.description

  __repr__ = __str__


def check_choice(density: Any, structure: Any, n: int | None = None) -> None:
  """Raises a ValueError if either is known to be what it must not be.

  Args:
    density: the share of the units to keep, or None where a structure says how many.
    structure: a `Structure`, or None.
    n: the number of units, if it is known.
  """
  check_structure(structure)
  if structure is not None and structure.kept_of_last_axis is not None:
    return
  if density is None:
    raise ValueError(
      "`density` must be given, the share to keep; `n_of_m` alone does without."
    )
  if isinstance(density, Structure):
    raise ValueError("A structure was given for the density: name it, `structure=…`.")
  check_density(density, n, *([] if structure is None else ["unit"]))


def check_structure(structure: Any) -> None:
  """Raises a ValueError for what is no structure."""
  if structure is not None and not isinstance(structure, Structure):
    raise ValueError(
      "`structure` must be made by `gsm_optax.blocks`, `n_of_m`, `channels` or"
      f" `Structure`, or be None for single weights, not {structure!r}."
    )


def with_structure(prunable: Prunable, structure: Structure | None) -> Prunable:
  """The leaves that are prunable and have units."""
  if structure is None or structure.prunable is None:
    return prunable
  if prunable is None:
    return structure.prunable
  of_structure = structure.prunable

  def both(params: Any) -> Any:
    return jax.tree.map(
      lambda a, b: a and b,
      prunable_tree(prunable, params),
      prunable_tree(of_structure, params),
    )

  return both
