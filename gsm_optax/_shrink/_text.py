"""A `Small` in words."""

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from gsm_optax._shrink._small import Small


def text(small: "Small") -> str:
  """A table of the leaves that change, the sums, and why others stay."""
  changed = [leaf for leaf in small.leaves if leaf.before != leaf.after]
  rows = [("leaf", "before", "after")]
  rows += [(leaf.path, _shape(leaf.before), _shape(leaf.after)) for leaf in changed]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = [
    "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    for row in rows
  ]
  lines.insert(1, "-" * (sum(widths) + 4))
  if not changed:
    lines = [_why_nothing(small)]
  before, after = small.units
  lines.append(f"units: {before:,} → {after:,}{_times(before, after)}")
  before, after = small.weights
  lines.append(f"weights: {before:,} → {after:,}{_times(before, after)}")
  before, after = small.multiply_adds
  lines.append(f"multiply-adds: {before:,} → {after:,}{_times(before, after)}")
  if small.constants:
    lines.append(f"constant units, of which what they add is left: {small.constants:,}")
  by_reason: dict[str, list[str]] = defaultdict(list)
  for (path, axis), reason in small.fixed.items():
    by_reason[reason].append(f"{path}[{axis}]")
  for reason, places in by_reason.items():
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    lines.append(f"stays ({reason}): {', '.join(places[:3])}{more}")
  if changed:
    lines.append(
      "The function that was given computes the same with the smaller params."
      if small.fits
      else "The smaller params are for small.apply_fn: the function that was given does"
      " not compute the same with them."
    )
  return "\n".join(line.rstrip() for line in lines)


def _why_nothing(small: "Small") -> str:
  if not small.units[0]:
    return "Nothing is removed: all axes have to stay."
  return (
    f"Nothing is removed: of the {small.units[0]:,} units that could be, none was found"
    " to be without effect on the outputs, or to be left out by the mask, or `round_to`"
    " keeps them all."
  )


def _shape(shape: tuple[int, ...]) -> str:
  return " × ".join(f"{n:,}" for n in shape) or "scalar"


def _times(before: int, after: int) -> str:
  fewer = after and before / after >= 1.05
  return f", {before / after:.1f} times fewer" if fewer else ""
