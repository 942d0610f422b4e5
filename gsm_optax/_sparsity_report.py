"""How many weights are left in each layer."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from gsm_optax._mistakes import check_is_params
from gsm_optax._structures import (
  Leaves,
  Structure,
  check_structure,
  nonzero_units,
  with_structure,
)
from gsm_optax._threshold import count_nonzero
from gsm_optax._trees import (
  Prunable,
  named_leaves,
  named_prunable_leaves,
  printable,
  prunable_leaves,
)


@dataclass(frozen=True)
class LayerSparsity:
  """A prunable leaf's path in the tree, shape, size, and number of non-zero weights."""

  path: str
  shape: tuple[int, ...]
  size: int
  kept: int

  @property
  def density(self) -> float:
    """The share of the leaf's weights that are not zero."""
    return self.kept / self.size if self.size else 0.0


@dataclass(frozen=True)
class UnitSparsity:
  """How many units of a structure there are in some place, and are not zero."""

  name: str
  size: int
  kept: int


@dataclass(frozen=True)
class SparsityReport:
  """The prunable layers of a model; `str` formats them as an aligned table.

  Layers with nothing left are marked there, and counted below the table: whatever
  passes through such a layer alone is lost.

  Attributes:
    layers: in tree order.
    units: with a structure, how many of its units are left in each place.
    totals: with a structure that can tell, such as `channels`, the model's weights and
      multiply-adds, before and after.
  """

  layers: tuple[LayerSparsity, ...]
  units: tuple[UnitSparsity, ...] = ()
  totals: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, Any])

  @property
  def size(self) -> int:
    """Number of prunable weights."""
    return sum(layer.size for layer in self.layers)

  @property
  def kept(self) -> int:
    """Number of prunable weights that are not zero."""
    return sum(layer.kept for layer in self.layers)

  @property
  def density(self) -> float:
    """The share of the prunable weights that are not zero."""
    return self.kept / self.size

  @property
  def compression_ratio(self) -> float:
    """1 / density; infinite if nothing is left."""
    return self.size / self.kept if self.kept else float("inf")

  @property
  def empty_layers(self) -> tuple[str, ...]:
    """The paths of the layers in which no weight is left."""
    return tuple(layer.path for layer in self.layers if layer.size and not layer.kept)

  def to_dict(self) -> dict[str, Any]:
    """Data for JSON; the compression ratio is None if nothing is left."""
    layers = [
      {**asdict(layer), "shape": list(layer.shape), "density": layer.density}
      for layer in self.layers
    ]
    of_structure: dict[str, Any] = {}
    if self.units:
      of_structure["units"] = [asdict(each) for each in self.units]
      of_structure["totals"] = {key: list(both) for key, both in self.totals.items()}
    return {
      "layers": layers,
      "size": self.size,
      "kept": self.kept,
      "density": self.density,
      "compression_ratio": self.compression_ratio if self.kept else None,
      "empty_layers": list(self.empty_layers),
      **of_structure,
    }

  def __str__(self) -> str:
    rows = [("layer", "shape", "size", "kept", "density")]
    rows += [
      (
        printable(layer.path),
        " × ".join(map(str, layer.shape)),
        f"{layer.size:,}",
        f"{layer.kept:,}",
        f"{layer.density:.2%}",
      )
      for layer in self.layers
    ]
    compression = f"{self.compression_ratio:.1f}× smaller"
    rows.append(
      ("total", compression, f"{self.size:,}", f"{self.kept:,}", f"{self.density:.2%}")
    )
    lines = _aligned(rows, left=2)
    rule = "-" * len(lines[0])
    head, *body, total = lines
    empty = self.empty_layers
    body = [
      f"{line}  <- nothing left" if layer.path in empty else line
      for line, layer in zip(body, self.layers, strict=True)
    ]
    note = [f"Nothing is left of {len(empty)} of {len(body)} layers."] if empty else []
    return "\n".join([head, rule, *body, rule, total, *note, *self._of_structure()])

  def _of_structure(self) -> list[str]:
    """Lines for units, and for what they cost."""
    if not self.units:
      return []
    rows = [("units of", "size", "kept", "density")]
    pairs = [
      (printable(each.name or "params"), each.size, each.kept) for each in self.units
    ]
    if len(pairs) > 1:
      sizes = sum(each.size for each in self.units)
      pairs.append(("all units", sizes, sum(each.kept for each in self.units)))
    pairs += [(f"all {name}", *both) for name, both in self.totals.items()]
    rows += [
      (name, f"{size:,}", f"{kept:,}", f"{kept / max(size, 1):.2%}")
      for name, size, kept in pairs
    ]
    head, *lines = _aligned(rows, left=1)
    return ["", head, "-" * len(head), *lines]


def _aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
  """Lines of a table, of which the first columns are text."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    "  ".join(
      cell.ljust(width) if i < left else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    for row in rows
  ]


def sparsity_report(
  params: Any, *, prunable: Prunable = None, structure: Structure | None = None
) -> SparsityReport:
  """Counts the non-zero weights of each layer.

  Args:
    params: any pytree of concrete arrays; sharded arrays are counted in place.
    prunable: which leaves are counted, in the form of `optax.masked`'s ``mask``.
      ``None`` selects `kernels`.
    structure: whose units are counted too, as in `prune`.

  Returns:
    A `SparsityReport`: plain data that `print` shows as a table.

  Raises:
    ValueError: if nothing is prunable, if `prunable` does not fit the params, or if
      something else is given in their place, as in `magnitude_mask`.

  Example:
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> params = {"kernel": jnp.array([[0.0, 0.0], [2.0, 0.0]]), "bias": jnp.ones(2)}
    >>> print(gsm_optax.sparsity_report(params))
    layer   shape         size  kept  density
    -----------------------------------------
    kernel  2 × 2            4     1   25.00%
    -----------------------------------------
    total   4.0× smaller     4     1   25.00%
  """
  check_structure(structure)
  check_is_params(params)
  layers = tuple(
    LayerSparsity(name, tuple(leaf.shape), leaf.size, count_nonzero(leaf))
    for name, leaf in named_prunable_leaves(prunable, params)
  )
  if structure is None or structure.kept_of_last_axis is not None:
    return SparsityReport(layers)
  with_units = with_structure(prunable, structure)
  weights = prunable_leaves(with_units, params)
  masks = nonzero_units(structure, Leaves.of(with_units, params), weights)
  units = tuple(
    UnitSparsity(name, mask.size, int(np.sum(mask)))
    for name, mask in named_leaves(masks)
  )
  totals = structure.totals(masks) if structure.totals else {}
  return SparsityReport(layers, units, totals)
