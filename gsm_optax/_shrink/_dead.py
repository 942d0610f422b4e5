"""Which units may be taken out."""

from collections.abc import Sequence, Set

import numpy as np
import numpy.typing as npt

from gsm_optax._shrink._analysis import Key, Program
from gsm_optax._shrink._axes import kept
from gsm_optax._shrink._parts import Part
from gsm_optax._shrink._trace import Traced, Walk, walk
from gsm_optax._shrink._units import Labels, Units
from gsm_optax._shrink._values import Value

Kept = Sequence[Sequence[npt.NDArray[np.int64]]]
"""For each leaf of the params, and each of its axes, the positions that are kept."""

Removed = tuple[Walk, dict[Key, list[Part]]]
"""The function as it is when units are removed, and what constants add."""


def remove_dead(traced: Traced, units: Units, stay: Kept | None = None) -> Removed:
  """Removes all units without which the function is the same, to a fixed point.

  A unit is dead if at each place where its positions are summed over, they are zero; or
  constant, and then what they add is added in their place. Without it, others are.

  Args:
    traced: the function.
    units: its units.
    stay: for each leaf of the params, and each of its axes, those that must not
      be removed; all may be if it is not given.

  Returns:
    The function without the units, and what constants add.
  """
  parts: dict[Key, list[Part]] = {}
  spared: set[int] = set()
  while True:
    found = walk(traced, units, parts)
    analysis = found.analysis
    dead = _members(units, analysis.summed) - _members(units, analysis.needed)
    dead -= units.removed | spared
    if stay is not None:
      dead -= units_at(found, units, stay)
    before = set(units.removed)
    units.removed |= dead
    spared |= leave_one(found, units, before)
    if units.removed == before:
      return found, parts
    for key, candidate in analysis.candidates.items():
      gone = units.gone(candidate.labels)
      was_gone = _gone_before(units, candidate.labels, before)
      positions = np.flatnonzero(gone & ~was_gone & candidate.constant)
      if len(positions):
        values = candidate.values[positions]
        part = Part(values, candidate.rows(positions), candidate.side)
        parts.setdefault(key, []).append(part)
        units.constants.update(units.find(candidate.labels[positions]).tolist())


def _gone_before(
  units: Units, labels: Labels, before: set[int]
) -> npt.NDArray[np.bool_]:
  after, units.removed = units.removed, before
  gone = units.gone(labels)
  units.removed = after
  return gone


def _members(units: Units, labels: Sequence[Labels]) -> set[int]:
  if not labels:
    return set()
  nodes = np.unique(units.find(np.concatenate(labels)))
  return set().union(*(units.members(int(node)) for node in nodes))


def leave_one(found: Walk, units: Units, before: Set[int] = frozenset()) -> set[int]:
  """Puts units back of which an axis would have nothing left; returns them.

  Those that were removed before are not put back: what they add has been added.
  """
  back: set[int] = set()
  values = [*found.params, *found.inputs, *_values(found.program)]
  while True:
    more: set[int] = set()
    for value in values:
      for axis in value.axes:
        if len(axis) and units.removed and units.gone(axis.labels).all():
          each = [units.members(int(label)) for label in axis.labels]
          more |= next((m & units.removed for m in each if not m & before), set())
          units.removed -= more
    if not more:
      return back
    back |= more


def removable(found: Walk, units: Units) -> tuple[int, int]:
  """How many positions of the params need not stay, and are left of these.

  Those with the same label are counted once.
  """
  axes = [axis for value in found.params for axis in value.axes]
  nodes = np.unique(np.concatenate([units.find(axis.labels) for axis in axes] or [[]]))
  free = nodes.astype(np.int64)
  free = free[~units.stays(free)]
  return len(free), int((~units.gone(free)).sum())


def _values(program: Program) -> list[Value]:
  """All results in a function, and in those that it calls."""
  values = [value for _, value in program.consts]
  for step in program.steps:
    values += step.outs
    for inner in step.inner:
      values += _values(inner)
  return values


def remove_unkept(
  found: Walk, units: Units, keep: Sequence[npt.NDArray[np.bool_]]
) -> None:
  """Removes the units of which a mask keeps no weight.

  Args:
    found: the function.
    units: its units.
    keep: for each leaf of the params its mask, False where a weight need not stay.
  """
  all_units: set[int] = set()
  wanted: set[int] = set()
  for value, mask in zip(found.params, keep, strict=True):
    for number, axis in enumerate(value.axes):
      others = tuple(i for i in range(mask.ndim) if i != number)
      some = mask.any(axis=others)
      all_units |= _members(units, [axis.labels])
      wanted |= _members(units, [axis.labels[some]])
  units.removed |= all_units - wanted
  leave_one(found, units)


def remove_the_same(found: Walk, units: Units, positions: Kept) -> None:
  """Removes the units without which the params keep just these positions."""
  axes = [axis.labels for value in found.params for axis in value.axes]
  units.removed |= _members(units, axes) - units_at(found, units, positions)


def units_at(found: Walk, units: Units, positions: Kept) -> set[int]:
  """The units that these positions of the params have."""
  labels = [
    axis.labels[own]
    for value, each in zip(found.params, positions, strict=True)
    for axis, own in zip(value.axes, each, strict=True)
  ]
  return _members(units, labels)


def kept_positions(found: Walk, units: Units) -> Kept:
  """The positions of the params that are kept."""
  return [[kept(units, axis) for axis in value.axes] for value in found.params]


def keeps(found: Walk, units: Units, positions: Kept) -> bool:
  """Whether the params keep just these positions."""
  return all(
    np.array_equal(kept(units, axis), own)
    for value, each in zip(found.params, positions, strict=True)
    for axis, own in zip(value.axes, each, strict=True)
  )
