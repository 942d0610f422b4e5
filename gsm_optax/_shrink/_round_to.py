"""Leaves units in, so that widths are multiples of a number."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gsm_optax._shrink._groups import ChannelGroup, groups_of
from gsm_optax._shrink._trace import Traced, Walk
from gsm_optax._shrink._units import Units

RoundTo = int | Callable[[ChannelGroup], int]
"""A number, or for each group of units its own."""


def put_back(traced: Traced, found: Walk, units: Units, round_to: RoundTo) -> None:
  """Leaves the first removed units of each group in, up to the next multiple.

  They have no effect if their parameters are zero: otherwise `Analysis.contract` does
  not let a unit be removed.

  Args:
    traced: the function.
    found: what is known of it.
    units: its units, of which some are removed.
    round_to: what to round to.
  """
  if round_to == 1:
    return
  axes = {
    (path, number): axis
    for path, value in zip(traced.paths, found.params, strict=True)
    for number, axis in enumerate(value.axes)
  }
  nodes = np.unique(np.concatenate([units.find(a.labels) for a in axes.values()]))
  positions = [units.members(node) for node in nodes.tolist()]
  goals: list[tuple[list[int], int, int]] = []
  for group, members in groups_of(traced, units, found):
    # Positions beside the group's that stay are as wide as its own.
    beside = {
      int(units.stays(axes[place].labels[numbers < 0]).sum())
      for place, numbers in group.members.items()
    }
    staying = beside.pop() if len(beside) == 1 else 0
    goals.append((members, staying, _number(round_to, group)))
  # Where groups overlap, a position comes back with the last of its units.
  while back := _next(positions, goals, units.removed):
    units.leave_in(back)


def _next(
  positions: Sequence[frozenset[int]],
  goals: Sequence[tuple[list[int], int, int]],
  removed: set[int],
) -> set[int]:
  """The units that come back next, and those without a place where none of these is."""
  left: set[int] = set()
  able: set[int] = set()  # to bring a position back by themselves
  for members in positions:
    missing = members & removed
    if not missing:
      left |= members
    elif len(missing) == 1:
      able |= missing
  back: set[int] = set()
  for group, staying, number in goals:
    missing = -(len(left.intersection(group)) + staying) % number
    back.update([unit for unit in group if unit in able][:missing])
  elsewhere = set[int]().union(*(m & removed for m in positions if not m & back))
  inside = set[int]().union(*(m & removed for m in positions if m & back))
  return back | (inside - elsewhere)


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
