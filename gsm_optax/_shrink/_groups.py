"""What belongs together: for those who prune whole units."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gsm_optax._shrink._reasons import reasons
from gsm_optax._shrink._trace import ApplyFn, Traced, Walk, trace, walk
from gsm_optax._shrink._units import Units


@dataclass(frozen=True, eq=False)
class ChannelGroup:
  """Units of one kind: the channels of a layer, say, or the heads of an attention.

  Attributes:
    size: how many units there are.
    members: for each axis of the params that they are on, by path and axis, the unit
      at each position: int (n,), from 0 to ``size - 1``, and -1 for none of these.
  """

  size: int
  members: Mapping[tuple[str, int], npt.NDArray[np.int64]]


@dataclass(frozen=True, eq=False, repr=False)
class ChannelGroups:
  """What `channel_groups` returns.

  Attributes:
    groups: those whose units can be removed.
    fixed: why positions of other axes of the params must stay, by path and axis.
  """

  groups: tuple[ChannelGroup, ...]
  fixed: Mapping[tuple[str, int], str]

  def __str__(self) -> str:
    """A line for each group, and for each axis that stays."""
    lines: list[str] = []
    for group in self.groups:
      places = ", ".join(f"{path}[{axis}]" for path, axis in group.members)
      lines.append(f"{group.size:,} units: {places}")
    for (path, axis), reason in self.fixed.items():
      lines.append(f"stays: {path}[{axis}] ({reason})")
    return "\n".join(lines)

  __repr__ = __str__


def channel_groups(apply_fn: ApplyFn, params: Any, *inputs: Any) -> ChannelGroups:
  """Finds which rows, columns and channels of the params can only go together.

  Args:
    apply_fn: as for `shrink`.
    params: as for `shrink`; shapes and dtypes are enough, such as `jax.eval_shape`
      gives.
    *inputs: likewise.

  Returns:
    The groups, and why other axes must stay as they are.

  Raises:
    ValueError: as `shrink` does, for functions that cannot be shrunk.

  Example:
    >>> import jax
    >>> def apply_fn(params, x):
    ...   return jax.nn.relu(x @ params["a"] + params["b"]) @ params["c"]
    >>> shapes = {"a": (4, 3), "b": (3,), "c": (3, 2)}
    >>> params = {k: jax.ShapeDtypeStruct(v, "float32") for k, v in shapes.items()}
    >>> print(channel_groups(apply_fn, params, jax.ShapeDtypeStruct((1, 4), "float32")))
    4 units: a[0]
    3 units: a[1], b[0], c[0]
    stays: c[1] (an output)
  """
  traced = trace(apply_fn, params, inputs)
  units = Units()
  found = walk(traced, units)
  groups = tuple(group for group, _ in groups_of(traced, units, found))
  return ChannelGroups(groups, reasons(units, traced, found.params))


def groups_of(
  traced: Traced, units: Units, found: Walk
) -> list[tuple[ChannelGroup, list[int]]]:
  """The groups of a function, each with its units in the order of their numbers."""
  # Where each unit is: the axes, and the positions on them.
  places: dict[int, dict[tuple[str, int], list[int]]] = defaultdict(dict)
  lengths: dict[tuple[str, int], int] = {}
  for path, value in zip(traced.paths, found.params, strict=True):
    for number, axis in enumerate(value.axes):
      lengths[path, number] = len(axis)
      for position, label in enumerate(units.find(axis.labels).tolist()):
        for unit in units.members(label):
          places[unit].setdefault((path, number), []).append(position)
  kinds: dict[Any, list[int]] = defaultdict(list)
  for unit, where in places.items():
    kinds[units.family(unit), tuple(where)].append(unit)
  groups: list[tuple[ChannelGroup, list[int]]] = []
  for (_, axes), members in kinds.items():
    numbers = {place: np.full(lengths[place], -1) for place in axes}
    for index, unit in enumerate(members):
      for place, positions in places[unit].items():
        numbers[place][positions] = index
    groups.append((ChannelGroup(len(members), numbers), members))
  return groups
