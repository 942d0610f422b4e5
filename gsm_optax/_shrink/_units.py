"""Units: what can only be removed as a whole.

Each position of each axis of each value has a *label*, the number of a node here. A
node is a unit, or a set of units: a position with a set goes when any unit of it goes,
as position (i, j) of two axes that were merged goes with row i and with column j. Units
are united as the function ties them together, or fixed when it cannot do without them.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
"""(n,): a node for each position of an axis."""

STAYS = 0
"""The node of positions that stay in any case."""


class Units:
  """Nodes, each with a parent: the node that it has been united with, or itself."""

  def __init__(self):
    self._parents = np.zeros(1024, np.int64)
    self._fixed = np.zeros(1024, bool)
    self._fixed[STAYS] = True
    self._size = 1
    self._members: dict[int, tuple[int, ...]] = {}
    self._sets: dict[frozenset[int], int] = {}
    self._named: dict[Hashable, Labels] = {}
    self._reasons: dict[int, str] = {STAYS: "tied to an axis that stays"}
    self._families = np.zeros(1024, np.int64)
    # Of sets, as long as nothing is united or fixed.
    self._remembered: dict[int, frozenset[int]] = {}
    self.constants: set[int] = set()
    """Nodes of positions that were removed while they were constant."""
    self.left_in: set[int] = set()
    """Units that were removed, and are left in without an effect."""
    self._removed: set[int] = set()
    self._is_removed: npt.NDArray[np.bool_] | None = None

  @property
  def removed(self) -> set[int]:
    """Units that are taken out. Set it anew: what is made of it is remembered."""
    return self._removed

  @removed.setter
  def removed(self, units: set[int]) -> None:
    self._removed, self._is_removed = set(units), None

  def fresh(self, name: Hashable, n: int) -> Labels:
    """A new unit for each of n positions; the same ones for the same name."""
    if name not in self._named:
      self._named[name] = self._new(n)
    return self._named[name]

  def known(self, name: Hashable) -> bool:
    """Whether there are units of this name."""
    return name in self._named

  def _new(self, n: int) -> Labels:
    begin, self._size = self._size, self._size + n
    while self._size > len(self._parents):
      self._parents = np.concatenate([self._parents, np.zeros_like(self._parents)])
      self._fixed = np.concatenate([self._fixed, np.zeros_like(self._fixed)])
      more = np.zeros_like(self._families)
      self._families = np.concatenate([self._families, more])
    nodes = np.arange(begin, self._size)
    self._parents[nodes], self._families[nodes] = nodes, begin
    return nodes

  def staying(self, n: int, reason: str) -> Labels:
    """Of n positions that all stay."""
    node = self.fresh(("stays", reason), 1)
    self.fix(node, reason)
    return np.repeat(node, n)

  def find(self, labels: Labels) -> Labels:
    """The nodes that the labels have been united with."""
    roots = self._parents[labels]
    while True:
      above = self._parents[roots]
      if np.array_equal(above, roots):
        break
      roots = above
    self._parents[labels] = roots
    return roots

  def _find(self, node: int) -> int:
    while self._parents[node] != node:
      node = int(self._parents[node])
    return node

  def members(self, node: int) -> frozenset[int]:
    """The units whose removal removes a position with this label; none if it stays."""
    node = self._find(node)
    if self._fixed[node]:
      return frozenset()
    if node not in self._members:
      return frozenset([node])
    result = self._remembered.get(node)
    if result is None:
      result = frozenset().union(*map(self.members, self._members[node]))
      if not result:
        self._fix(node, self.reason(self._members[node][0]))
      self._remembered[node] = result
    return result

  def family(self, unit: int) -> int:
    """The same number for units that were made together, as of one axis."""
    return int(self._families[unit])

  def together(self, *labels: Labels) -> Labels:
    """Positions that go when any of their labels goes; the arrays are broadcast."""
    roots = np.broadcast_arrays(*(self.find(each) for each in labels))
    shape = roots[0].shape
    stacked = np.stack([each.ravel() for each in roots], 1)
    stacked = np.sort(np.where(self._fixed[stacked], STAYS, stacked), 1)
    rows, inverse = np.unique(stacked, axis=0, return_inverse=True)
    nodes = [self.node(frozenset().union(*map(self.members, row))) for row in rows]
    result = np.array(nodes, np.int64)[inverse.reshape(-1)].reshape(shape)
    # What stays in any case does so for the reason of the first of its labels.
    return np.where(result == STAYS, roots[0], result)

  def node(self, units: frozenset[int]) -> int:
    """The node of a position that goes when any of these units goes."""
    if not units:
      return STAYS
    if len(units) == 1:
      return next(iter(units))
    if units not in self._sets:
      self._sets[units] = int(self._new(1)[0])
      self._members[self._sets[units]] = tuple(sorted(units))
    return self._sets[units]

  def fix(self, labels: Labels, reason: str) -> None:
    """Lets no position with one of these labels go."""
    roots = np.unique(self.find(labels))
    for node in roots[~self._fixed[roots]]:
      for unit in self.members(int(node)):
        self._fix(unit, reason)

  def _fix(self, unit: int, reason: str) -> None:
    self._fixed[unit] = True
    self._reasons[unit] = reason
    self._remembered.clear()

  def _put_under(self, node: int, other: int) -> None:
    self._parents[node] = other
    self._remembered.clear()

  def stays(self, labels: Labels) -> npt.NDArray[np.bool_]:
    """(n,): whether a position stays whatever is removed."""
    roots = self.find(labels)
    result = self._fixed[roots].copy()
    for node in np.unique(roots[~result]):
      if int(node) in self._members and not self.members(int(node)):
        result[roots == node] = True
    return result

  def reason(self, label: int) -> str:
    """Why a position with this label stays; empty if it need not."""
    node = self._find(int(label))
    if self._fixed[node]:
      return self._reasons[node]
    if self.members(node):
      return ""
    return self.reason(self._members[node][0])

  def gone(self, labels: Labels) -> npt.NDArray[np.bool_]:
    """(n,): whether a position goes with the units that are removed."""
    if not self._removed:
      return np.zeros(len(labels), bool)
    if self._is_removed is None or len(self._is_removed) < self._size:
      self._is_removed = np.zeros(len(self._parents), bool)
      self._is_removed[list(self._removed)] = True
    nodes, inverse = np.unique(self.find(labels), return_inverse=True)
    gone = self._is_removed[nodes]
    for number, node in enumerate(nodes.tolist()):
      if node in self._members and not self._fixed[node]:
        gone[number] = not self._removed.isdisjoint(self.members(node))
    return gone[inverse.reshape(-1)]

  def leave_in(self, units: set[int]) -> None:
    """Puts removed units back, without an effect: their parameters are zero."""
    self.removed = self._removed - units
    self.left_in |= units

  def idle(self, labels: Labels) -> npt.NDArray[np.bool_]:
    """(n,): whether a position would go with units that are left in."""
    nodes, inverse = np.unique(self.find(labels), return_inverse=True)
    each = [not self.left_in.isdisjoint(self.members(node)) for node in nodes.tolist()]
    return np.array(each, bool)[inverse.reshape(-1)]

  def unite(self, a: Labels, b: Labels, reason: str) -> Labels:
    """Makes positions with labels a go if and only if those with labels b go.

    Where sets differ, units of both at the same positions are one unit. The others are
    fixed, which is never wrong.

    Args:
      a: (n,).
      b: (n,).
      reason: why units are fixed here.
    """
    a, b = self.find(a), self.find(b)
    differ = (a != b) & ~(self._fixed[a] & self._fixed[b])
    if not differ.any():
      return a
    pairs = np.unique(np.stack([a[differ], b[differ]]), axis=1).T
    unlike = [(x, y) for x, y in pairs.tolist() if not self._merge(x, y, reason)]
    if unlike:
      self._match(a, b, unlike)
      for first, second in unlike:
        for unit in self.members(first) ^ self.members(second):
          self._fix(unit, reason)
    return self.find(a)

  def _merge(self, a: int, b: int, otherwise: str) -> bool:
    """Makes two nodes one, where that is possible without fixing a unit of a set.

    Units that stay because others do have their reason, or else this one.
    """
    a, b = self._find(a), self._find(b)
    first, second = self.members(a), self.members(b)
    if first == second:
      if a in self._members and b in self._members:
        self._put_under(b, a)
    elif not first or not second:
      reason = self.reason(b if first else a) or otherwise
      for unit in first | second:
        self._fix(unit, reason)
    elif len(first) == 1 and not first <= second:
      self._put_under(next(iter(first)), self.node(second))
    elif len(second) == 1 and not second <= first:
      self._put_under(next(iter(second)), self.node(first))
    else:
      return False
    return True

  def _match(self, a: Labels, b: Labels, pairs: Iterable[tuple[int, int]]) -> None:
    """Unites units that only one of both sets has, at the same positions."""
    places: list[dict[int, list[int]]] = [defaultdict(list), defaultdict(list)]
    wanted = set(pairs)
    for position, pair in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
      if pair in wanted:
        first, second = map(self.members, pair)
        for unit in first - second:
          places[0][unit].append(position)
        for unit in second - first:
          places[1][unit].append(position)
    by_places = {tuple(where): unit for unit, where in places[1].items()}
    for unit, where in places[0].items():
      other = by_places.pop(tuple(where), None)
      if other is not None:
        self._put_under(self._find(unit), self._find(other))
