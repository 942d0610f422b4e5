"""Leaves units in, so that widths are multiples of a number."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gsm_optax._shrink._axes import kept
from gsm_optax._shrink._dead import Kept, Removed, remove_dead
from gsm_optax._shrink._groups import ChannelGroup, groups_of
from gsm_optax._shrink._trace import Traced, Walk
from gsm_optax._shrink._units import Units

RoundTo = int | Callable[[ChannelGroup], int]
"""A number, or for each group of units its own."""


def kept_positions(found: Walk, units: Units) -> Kept:
  """For each leaf of the params, and each of its axes, the positions that are kept."""
  return [[kept(units, axis) for axis in value.axes] for value in found.params]


def remove_dead_rounded(traced: Traced, round_to: RoundTo) -> tuple[Removed, Units]:
  """Removes dead units, but of each group only so many that a multiple is left.

  What a unit needs cannot go if the unit stays, so those that are put back may keep
  others, which are rounded in turn. It ends, as each time more positions stay.
  """
  stay: Kept | None = None
  while True:
    units = Units()
    removed = remove_dead(traced, units, stay)
    found, _ = removed
    if not _put_back_some(traced, found, units, round_to):
      return removed, units
    stay = kept_positions(found, units)


def put_back(traced: Traced, found: Walk, units: Units, round_to: RoundTo) -> None:
  """Puts the first removed units of each group back, up to the next multiple."""
  while _put_back_some(traced, found, units, round_to):
    pass


def _put_back_some(
  traced: Traced, found: Walk, units: Units, round_to: RoundTo
) -> bool:
  """Goes through all groups once, and returns whether a unit is back.

  Groups may overlap: a position that was merged of two axes comes back with the last of
  its units, so that this may need several rounds.
  """
  if round_to == 1 or not units.removed:
    return False
  left, returnable = _left(found, units)
  back: set[int] = set()
  for group, members in groups_of(traced, units, found):
    missing = -len(left.intersection(members)) % _number(round_to, group)
    back.update([unit for unit in members if unit in returnable][:missing])
  units.removed = units.removed - back
  return bool(back)


def _left(found: Walk, units: Units) -> tuple[set[int], set[int]]:
  """The units that have a position left, and those that would by themselves."""
  left: set[int] = set()
  returnable: set[int] = set()
  for value in found.params:
    for axis in value.axes:
      for node in np.unique(units.find(axis.labels)).tolist():
        members = units.members(node)
        missing = members & units.removed
        if not missing:
          left |= members
        elif len(missing) == 1:
          returnable |= missing
  return left, returnable


def _number(round_to: RoundTo, group: ChannelGroup) -> int:
  if not callable(round_to):
    return int(round_to)
  number = round_to(group)
  if not _is_positive(number):
    raise ValueError(
      f"`round_to` must return a whole number from 1 on, not {number!r}."
    )
  return int(number)


def check_round_to(round_to: Any) -> None:
  """Raises a ValueError if it is neither a positive whole number nor a function."""
  if not callable(round_to) and not _is_positive(round_to):
    raise ValueError(
      "`round_to` must be a whole number from 1 on, or a function of a `ChannelGroup`,"
      f" not {round_to!r}."
    )


def _is_positive(number: Any) -> bool:
  if not isinstance(number, int | np.integer) or isinstance(number, bool):
    return False
  return int(number) >= 1
