"""The units within a function, and its size without some of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gsm_optax._shrink._axes import kept_shape
from gsm_optax._shrink._groups import ChannelGroup, groups_of
from gsm_optax._shrink._multiply_adds import multiply_adds
from gsm_optax._shrink._trace import ApplyFn, Walk, abstract, trace, walk
from gsm_optax._shrink._units import Units


@dataclass(frozen=True, eq=False)
class Coupled:
  """The units between layers.

  Attributes:
    groups: those that are on more than one leaf of the params, and not on an input.
  """

  groups: Sequence[ChannelGroup]
  _nodes: Sequence[Sequence[int]]
  _found: Walk
  _units: Units
  _axes: Mapping[str, int]

  def axes(self, path: str) -> int:
    """How many axes a leaf of the params has."""
    return self._axes[path]

  def size(self, kept: Sequence[npt.NDArray[np.bool_]]) -> tuple[int, int]:
    """The numbers in the params and the multiply-adds that are left.

    Args:
      kept: for each group, which of its units are kept.
    """
    return self._without(
      {
        node
        for nodes, mask in zip(self._nodes, kept, strict=True)
        for node, is_kept in zip(nodes, mask.tolist(), strict=True)
        if not is_kept
      }
    )

  def costs(self, group: int) -> npt.NDArray[np.int64]:
    """By how much the size falls with each unit alone: (units, 2), as `size` counts."""
    whole = self._without(set())
    members = self.groups[group].members.values()
    counts = np.array([np.bincount(m[m >= 0]) for m in members])
    known: dict[tuple[int, ...], tuple[int, int]] = {}
    result: list[tuple[int, int]] = []
    for node, count in zip(self._nodes[group], counts.T.tolist(), strict=True):
      # Units that are at as many positions cost the same.
      if tuple(count) not in known:
        left = self._without({node})
        known[tuple(count)] = whole[0] - left[0], whole[1] - left[1]
      result.append(known[tuple(count)])
    return np.array(result)

  def _without(self, removed: set[int]) -> tuple[int, int]:
    self._units.removed = removed
    shapes = [kept_shape(self._units, value.axes) for value in self._found.params]
    numbers = sum(map(math.prod, shapes))
    return numbers, multiply_adds(self._found.program, self._units)


def coupled(apply_fn: ApplyFn, params: Any, inputs: Sequence[Any]) -> Coupled:
  """Finds the units between layers; arguments as of `channel_groups`."""
  traced = trace(apply_fn, params, inputs)
  traced = traced._replace(params=abstract(list(traced.params)))
  units = Units()
  found = walk(traced, units)
  of_inputs = {
    unit
    for value in found.inputs
    for axis in value.axes
    for label in np.unique(units.find(axis.labels)).tolist()
    for unit in units.members(label)
  }
  groups = [
    (group, nodes)
    for group, nodes in groups_of(traced, units, found)
    if len({path for path, _ in group.members}) > 1 and of_inputs.isdisjoint(nodes)
  ]
  axes = {
    path: leaf.ndim for path, leaf in zip(traced.paths, traced.params, strict=True)
  }
  return Coupled(
    [group for group, _ in groups], [nodes for _, nodes in groups], found, units, axes
  )
