"""Takes out what a function can do without."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsm_optax._checks import is_known
from gsm_optax._shrink._axes import kept_shape
from gsm_optax._shrink._compare import check_same, fits, rounding
from gsm_optax._shrink._dead import (
  Kept,
  kept_positions,
  removable,
  remove_dead,
  remove_unkept,
)
from gsm_optax._shrink._multiply_adds import multiply_adds
from gsm_optax._shrink._reasons import reasons
from gsm_optax._shrink._round_to import RoundTo, check_round_to, put_back
from gsm_optax._shrink._slice import slice_array, slicer
from gsm_optax._shrink._small import LeafShape, Small, SmallFunction
from gsm_optax._shrink._trace import ApplyFn, trace, walk
from gsm_optax._shrink._units import Units
from gsm_optax._trees import path_name


def shrink(
  apply_fn: ApplyFn,
  params: Any,
  *inputs: Any,
  keep: Any = None,
  tolerance: float | None = None,
  round_to: RoundTo = 1,
) -> Small:
  """The same function with fewer weights.

  Zeros that pruning has made are stored and multiplied like other numbers. But where
  all weights into a hidden unit are zero, or all weights out of it, the unit can be
  taken out, and with it whole rows and columns. This finds such units, channels, heads
  and inputs by following zeros through the equations of the function, so that it
  knows of no layers, and returns a function without them. It does so to a fixed point,
  and then compares both functions' outputs on `inputs`.

  A unit into which nothing comes but a bias is constant. It is taken out too, where it
  goes into products and convolutions, and what it adds is added there.

  Args:
    apply_fn: ``(params, *inputs) -> outputs``, a pure function in inference mode,
      without random numbers; it returns outputs alone, and no updated statistics.
    params: tree of floating-point arrays; all of them, or what is not in the tree is
      taken as it is.
    *inputs: arrays, or trees of them, as the function takes them. Any batch will do;
      other arguments are given by `functools.partial`.
    keep: tree like the params of boolean arrays. Units of which nothing is kept are
      removed, in place of all that are dead: the result is the function of params in
      which they are zero.
    tolerance: by how much outputs may differ, as a share of the largest, or in which
      share of them, where they are whole numbers. By default what rounding does to
      numbers of the coarsest dtype in the function.
    round_to: rounds the number of units left in each group (see `channel_groups`) up
      to a multiple of this number, or to all of the group, by keeping units that have
      no effect, with parameters of zero. The outputs stay the same, and widths of 16 or
      32 can be faster than 13 or 25. A function ``ChannelGroup -> int`` gives each
      group its own number, for heads of attention, say.

  Returns:
    A `Small`, with ``apply_fn``, ``params``, and ``slice`` for trees like the params.

  Raises:
    ValueError: for a function with random numbers or side effects, or that returns
      params or updates of them; for params that are not floating-point arrays, or of
      which none is used; for masks of other shapes; if `round_to` is not a whole
      number from 1 on; if the outputs differ by more than rounding, or are inf or NaN
      once units are zero.

  Example:
    >>> import jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...   return jnp.maximum(x @ params["a"], 0) @ params["b"]
    >>> params = {"a": jnp.ones((4, 3)).at[:, 1].set(0), "b": jnp.ones((3, 2))}
    >>> small = shrink(apply_fn, params, jnp.ones((1, 4)))
    >>> small.params["a"].shape, small.params["b"].shape
    ((4, 2), (2, 2))
    >>> small.apply_fn(small.params, jnp.ones((5, 4))).shape
    (5, 2)
  """
  _refuse_abstract(params=params, inputs=inputs)
  check_round_to(round_to)
  traced = trace(apply_fn, params, inputs)
  units, parts = Units(), {}
  if keep is None:
    found, parts = remove_dead(traced, units)
  else:
    masks = _masks(params, keep)
    found = walk(traced, units)
    remove_unkept(found, units, masks)
  alive = kept_positions(found, units)
  put_back(traced, found, units, round_to)
  positions = kept_positions(found, units)
  small_params = _each(params, slice_array, positions, alive)
  function = SmallFunction(apply_fn, params, positions, alive, dead=keep is None)
  compared = params if keep is None else _each(params, _zeroed, alive)
  if keep is None:
    function.remember(small_params, inputs, (found, units, parts, traced.outputs))
  tolerance = rounding(traced) if tolerance is None else tolerance
  check_same(
    jax.jit(function.__call__)(small_params, *inputs),
    jax.jit(apply_fn)(compared, *inputs),
    tolerance,
    chosen=keep is not None,
  )
  nothing_removed = Units()
  return Small(
    apply_fn=function.__call__,
    params=small_params,
    leaves=[
      LeafShape(path, value.shape, kept_shape(units, value.axes))
      for path, value in zip(traced.paths, found.params, strict=True)
    ],
    units=removable(found, units),
    multiply_adds=(
      multiply_adds(found.program, nothing_removed),
      multiply_adds(found.program, units),
    ),
    constants=len(units.constants),
    fixed=reasons(units, traced, found.params),
    fits=fits(apply_fn, function.__call__, small_params, inputs, tolerance),
    _slice=slicer(params, positions, alive),
  )


def _refuse_abstract(**trees: Any) -> None:
  for name, tree in trees.items():
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
      if isinstance(leaf, jax.ShapeDtypeStruct) or not is_known(leaf):
        raise ValueError(
          f"{path_name(path)} of {name} has no numbers: shrink cannot be called inside"
          " jit; channel_groups takes shapes alone."
        )


def _masks(params: Any, keep: Any) -> list[Any]:
  if jax.tree.structure(keep) != jax.tree.structure(params):
    raise ValueError(
      f"keep has the structure {jax.tree.structure(keep)}, but the params have"
      f" {jax.tree.structure(params)}."
    )
  masks = [np.asarray(mask) for mask in jax.tree.leaves(keep)]
  for (path, leaf), mask in zip(
    jax.tree_util.tree_leaves_with_path(params), masks, strict=True
  ):
    if mask.dtype != bool or mask.shape != leaf.shape:
      raise ValueError(
        f"keep has {mask.dtype}{list(mask.shape)} at {path_name(path)}, but must be"
        f" bool{list(leaf.shape)} like the params."
      )
  return masks


def _each(params: Any, function: Callable[..., Any], *positions: Kept) -> Any:
  """A function of each leaf and its positions."""
  leaves, structure = jax.tree.flatten(params)
  return jax.tree.unflatten(structure, list(map(function, leaves, *positions)))


def _zeroed(leaf: Any, positions: Sequence[Any]) -> Any:
  """The leaf with zeros at all positions that are removed."""
  mask = np.zeros(leaf.shape, bool)
  mask[np.ix_(*positions) if positions else ...] = True
  leaf = np.asarray(leaf)
  return jnp.asarray(np.where(mask, leaf, np.zeros((), leaf.dtype)))
