"""The smaller function."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsm_optax._shrink._analysis import Key
from gsm_optax._shrink._axes import take_kept
from gsm_optax._shrink._dead import (
  Kept,
  keeps,
  remove_dead,
  remove_the_same,
  units_at,
)
from gsm_optax._shrink._evaluate import Evaluation
from gsm_optax._shrink._parts import Part
from gsm_optax._shrink._rules import RULES
from gsm_optax._shrink._trace import ApplyFn, Walk, abstract, trace, walk
from gsm_optax._shrink._units import Units

Smaller = tuple[Walk, Units, Mapping[Key, Sequence[Part]], Any]
"""A function, what is removed from it, what constants add, and its results' tree."""


@dataclass(frozen=True)
class LeafShape:
  """A leaf of the params, before and after.

  Attributes:
    path: of the leaf.
    before: its shape.
    after: its shape.
  """

  path: str
  before: tuple[int, ...]
  after: tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Small:
  """What `gsm_optax.shrink` returns: a function with fewer weights.

  Attributes:
    apply_fn: ``(params, *inputs) -> outputs``, a pure function of the smaller params
      and of inputs of the same shapes as before, for any batch size.
    params: the smaller params, a tree of the same structure.
    leaves: each leaf of the params, before and after.
    units: how many rows, columns and channels of the params need not stay, those that
      belong together counted once, and how many of them are left.
    multiply_adds: of all products of matrices and convolutions at the shapes of
      the inputs, before and after.
    constants: how many of those that are gone were not zero but constant, and what
      they add is added instead.
    fixed: why positions of a leaf's axis had to stay, by path and axis.
    fits: whether the function that was given computes the same of the smaller params,
      for these inputs and for random ones of their shapes.
  """

  apply_fn: ApplyFn
  params: Any
  leaves: Sequence[LeafShape]
  units: tuple[int, int]
  multiply_adds: tuple[int, int]
  constants: int
  fixed: Mapping[tuple[str, int], str]
  fits: bool
  _slice: Callable[[Any], Any]

  def slice(self, tree: Any) -> Any:
    """Takes of a tree what the smaller params are of the params.

    Leaves that have the path and the shape of a leaf of the params are sliced, with
    zeros for units that `round_to` leaves in. That goes for leaves within a larger tree
    too, as the momenta in the states of `optax.sgd`, `optax.adamw` and `gsm`. Others
    are left as they are: states that hold the params in other shapes, as factored ones
    do, have to be made anew by the optimizer's ``init``.

    Args:
      tree: shaped like the params: averages of them, masks, an optimizer's state.

    Returns:
      The same tree with smaller leaves.

    Raises:
      ValueError: if no leaf is one of the params.
    """
    return self._slice(tree)

  @property
  def weights(self) -> tuple[int, int]:
    """Numbers in the params, before and after."""
    before = sum(math.prod(leaf.before) for leaf in self.leaves)
    return before, sum(math.prod(leaf.after) for leaf in self.leaves)

  def __str__(self) -> str:
    """A table of the leaves that change, the sums, and why others stay."""
    from gsm_optax._shrink._text import text

    return text(self)

  __repr__ = __str__


class SmallFunction:
  """Computes the function at the positions that are kept, at any shapes of inputs.

  What may be removed is found again for each of them: functions may depend on shapes,
  and so may constants, as where something is divided by the length of a sequence.
  """

  def __init__(
    self, apply_fn: ApplyFn, params: Any, kept: Kept, alive: Kept, dead: bool
  ):
    self._apply_fn = apply_fn
    self._params = jax.tree.map(np.asarray, params) if dead else abstract(params)
    self._kept, self._alive = kept, alive
    self._dead = dead
    self._programs: dict[Any, Smaller] = {}

  def __call__(self, params: Any, *inputs: Any) -> Any:
    """The outputs, see `Small.apply_fn`."""
    leaves, structure = jax.tree.flatten(params)
    self._check(leaves, structure)
    given = jax.tree.map(jnp.asarray, inputs)
    arrays = jax.tree.leaves(given)
    for n in (n for array in arrays for n in array.shape):
      if not isinstance(n, int):
        raise ValueError(
          f"An axis has the length {n}, but small.apply_fn needs numbers: for any batch"
          " size let jax.vmap call it with batches of one."
        )
    key = _kinds(params, given)
    if key not in self._programs:
      dtypes = [leaf.dtype for leaf in leaves]
      self._programs[key] = self._program(dtypes, given)
    found, units, parts, outputs = self._programs[key]
    taken = [
      take_kept(units, array, value.axes)
      for array, value in zip(arrays, found.inputs, strict=True)
    ]
    evaluation = Evaluation(units, RULES, parts)
    results = evaluation.call(found.program, [*leaves, *taken])
    return jax.tree.unflatten(jax.tree.structure(outputs), results)

  def remember(self, params: Any, inputs: Any, program: Smaller) -> None:
    """Does not look for what is removed again at the shapes of these inputs."""
    self._programs[_kinds(params, jax.tree.map(jnp.asarray, inputs))] = program

  def _check(self, leaves: Sequence[Any], structure: Any) -> None:
    expected = jax.tree.structure(self._params)
    if structure != expected:
      raise ValueError(
        f"The params have the structure {structure}, but those that were shrunk have"
        f" {expected}."
      )
    shapes = [tuple(map(len, positions)) for positions in self._kept]
    for leaf, shape in zip(leaves, shapes, strict=True):
      if not hasattr(leaf, "shape"):
        raise ValueError(f"A leaf of the params is {leaf!r}, and no array.")
      if tuple(leaf.shape) != shape:
        raise ValueError(
          f"A leaf of the params has the shape {tuple(leaf.shape)} in place of {shape}:"
          " small.apply_fn takes small.params, or small.slice(params)."
        )

  def _program(self, dtypes: Sequence[Any], inputs: Sequence[Any]) -> Smaller:
    leaves, structure = jax.tree.flatten(self._params)
    params = jax.tree.unflatten(
      structure,
      [
        leaf.astype(dtype, copy=False)
        if self._dead
        else jax.ShapeDtypeStruct(leaf.shape, dtype)
        for leaf, dtype in zip(leaves, dtypes, strict=True)
      ],
    )
    traced = trace(self._apply_fn, params, inputs)
    units = Units()
    if self._dead:
      with jax.ensure_compile_time_eval():
        found, parts = remove_dead(traced, units, self._alive)
        units.leave_in(units.removed & units_at(found, units, self._kept))
    else:
      found, parts = walk(traced, units), {}
      remove_the_same(found, units, self._kept)
    if not keeps(found, units, self._kept):
      raise ValueError(
        "At these shapes of the inputs the function is another one, in which the same"
        " units cannot be removed: call shrink with inputs of these shapes."
      )
    return found, units, parts, traced.outputs


def _kinds(*trees: Any) -> Any:
  leaves, structure = jax.tree.flatten(trees)
  return tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves), structure
