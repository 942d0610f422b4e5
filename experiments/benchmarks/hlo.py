"""What a compiled program launches, counted in the text of its optimised HLO.

A kernel is an instruction that runs as one on the accelerator: a fusion, a copy, a
custom call, a reduction, a collective, whatever is not listed here:

- parameters, constants, tuples and their elements, bitcasts: nothing runs;
- the second half of an asynchronous pair (``copy-done``): the first is counted;
- ``call``: what it calls is counted in its place;
- ``conditional``: its larger branch is counted in its place;
- ``while``: its condition and body are a block of their own, see `Block.loops`;
- arithmetic between single numbers outside a fusion, which a TPU's scalar unit does
  on its own (on a GPU there is none: it is always a fusion).

What the runtime adds is not in the text: on a GPU, the copy to the host of each answer
of a loop's condition.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

_FREE = {
  *("parameter", "constant", "tuple", "get-tuple-element", "bitcast"),
  *("after-all", "add-dependency", "opt-barrier", "domain"),
  *("partition-id", "replica-id"),
}
_EVEN_OF_SCALARS = {
  *("fusion", "custom-call", "copy", "copy-start", "reduce", "reduce-window"),
  *("dynamic-slice", "slice", "slice-start", "dot", "convolution"),
}
ALL_REDUCE = "all-reduce"
MOVES = (
  *("all-gather", "all-to-all", "ragged-all-to-all", "collective-permute"),
  *("collective-broadcast", "reduce-scatter", "sort", "topk"),
)
"""What moves scores between devices, or sorts them."""

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?[\w.\-]+ = (.*?) ([a-z][\w\-]*)\(")
_CALLED = re.compile(r", (body|condition|to_apply|calls)=%?([\w.\-]+)")
_BRANCHES = re.compile(
  r", (?:branch_computations=\{([^}]*)|(?:true|false)_computation=([^,\s]+))"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_TARGET = re.compile(r'custom_call_target="([^"]*)"')


@dataclass(frozen=True)
class Block:
  """What one run of the entry computation, or of a loop's body, launches.

  Attributes:
    kernels: outside of inner loops.
    collectives: `ALL_REDUCE` and `MOVES`, those that there are, outside of inner loops.
    trips: of a loop, if the compiler knows them.
    loops: the loops in it.
  """

  kernels: int = 0
  collectives: Counter[str] = field(default_factory=Counter[str])
  trips: int | None = None
  loops: tuple["Block", ...] = ()

  def __add__(self, other: Self) -> "Block":
    return Block(
      self.kernels + other.kernels,
      self.collectives + other.collectives,
      self.trips,
      self.loops + other.loops,
    )

  @property
  def all_kernels(self) -> int:
    """With inner loops, one trip each where their number is not known."""
    inner = sum((loop.trips or 1) * loop.all_kernels for loop in self.loops)
    return self.kernels + inner

  @property
  def all_collectives(self) -> Counter[str]:
    """With inner loops, one trip each."""
    return sum((loop.all_collectives for loop in self.loops), Counter(self.collectives))

  @property
  def search(self) -> "Block | None":
    """The loop of unknown trips that launches most: one trip is a pass."""
    open_ended = [loop for loop in self.loops if loop.trips is None]
    return max(open_ended, key=lambda loop: loop.all_kernels, default=None)

  def update_kernels(self, passes: float) -> float:
    """Of one run in which the search takes so many passes.

    All passes of a search of several loops count as trips of the one that launches
    most; other loops of unknown trips do not count. Loops within a pass count one trip,
    unless the compiler knows their number.
    """
    known = sum(loop.trips * loop.all_kernels for loop in self.loops if loop.trips)
    a_pass = self.search.all_kernels if self.search else 0
    return self.kernels + known + passes * a_pass

  def to_json(self) -> dict[str, Any]:
    """As plain values."""
    return {
      "kernels": self.kernels,
      "collectives": dict(self.collectives),
      "trips": self.trips,
      "loops": [loop.to_json() for loop in self.loops],
    }


def read(text: str) -> Block:
  """The entry computation of ``compiled.as_text()``."""
  computations: dict[str, list[str]] = {}
  entry, lines = None, []
  for line in text.splitlines():
    if line[:1].isspace():
      lines.append(line)
    elif found := _COMPUTATION.match(line):
      lines = computations[found[2]] = []
      entry = found[2] if found[1] else entry
  if entry is None:
    raise ValueError("This is no text of an HLO module: it has no ENTRY.")
  return _block(computations, entry)


def _block(computations: dict[str, list[str]], name: str) -> Block:
  instructions = (_instruction(computations, line) for line in computations[name])
  return sum(instructions, Block())


def _instruction(computations: dict[str, list[str]], line: str) -> Block:
  found = _INSTRUCTION.match(line)
  if not found:
    return Block()
  shape, opcode = found.groups()
  called = dict(_CALLED.findall(line))
  if opcode == "while":
    body = _block(computations, called["condition"])
    body += _block(computations, called["body"])
    trips = _TRIPS.search(line)
    trips = int(trips[1]) if trips else None
    return Block(loops=(Block(body.kernels, body.collectives, trips, body.loops),))
  if opcode == "conditional":
    names = " ".join(some or one for some, one in _BRANCHES.findall(line))
    names = names.replace("%", "").replace(",", "").split()
    branches = [_block(computations, branch) for branch in names]
    return max(branches, key=lambda branch: branch.all_kernels)
  if opcode in ("call", "async-start"):
    return _block(computations, called.get("to_apply") or called["calls"])
  if opcode in _FREE or opcode.endswith(("-done", "-update")):
    return Block()
  collectives = Counter([_collective(opcode, line)])
  if opcode == "fusion":
    collectives = _block(computations, called["calls"]).all_collectives
  del collectives[""]
  is_scalar = re.match(r"\w+\[\]", shape) is not None
  if is_scalar and opcode not in _EVEN_OF_SCALARS and not collectives:
    return Block()
  return Block(1, collectives)


def _collective(opcode: str, line: str) -> str:
  """The name in `MOVES` or `ALL_REDUCE` of what the instruction does, else nothing."""
  if opcode == "custom-call" and (target := _TARGET.search(line)):
    names = [name for name in ("sort", "topk") if name in target[1].lower()]
    return names[0] if names else ""
  opcode = opcode.removesuffix("-start")
  return opcode if opcode == ALL_REDUCE or opcode in MOVES else ""
