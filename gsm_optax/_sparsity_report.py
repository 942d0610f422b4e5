"""How many weights are left in each layer."""

from dataclasses import asdict, dataclass
from typing import Any

from gsm_optax._mistakes import check_is_params
from gsm_optax._threshold import count_nonzero
from gsm_optax._trees import Prunable, named_prunable_leaves


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
class SparsityReport:
  """The prunable layers of a model; `str` formats them as an aligned table.

  Layers with nothing left are marked there, and counted below the table: whatever
  passes through such a layer alone is lost.
  """

  layers: tuple[LayerSparsity, ...]

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
    return {
      "layers": layers,
      "size": self.size,
      "kept": self.kept,
      "density": self.density,
      "compression_ratio": self.compression_ratio if self.kept else None,
      "empty_layers": list(self.empty_layers),
    }

  def __str__(self) -> str:
    rows = [("layer", "shape", "size", "kept", "density")]
    rows += [
      (
        layer.path,
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
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
      "  ".join(
        cell.ljust(width) if i < 2 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
      )
      for row in rows
    ]
    rule = "-" * len(lines[0])
    head, *body, total = lines
    empty = self.empty_layers
    body = [
      f"{line}  <- nothing left" if layer.path in empty else line
      for line, layer in zip(body, self.layers, strict=True)
    ]
    note = [f"Nothing is left of {len(empty)} of {len(body)} layers."] if empty else []
    return "\n".join([head, rule, *body, rule, total, *note])


def sparsity_report(params: Any, *, prunable: Prunable = None) -> SparsityReport:
  """Counts the non-zero weights of each layer.

  Args:
    params: any pytree of concrete arrays; sharded arrays are counted in place.
    prunable: which leaves are counted, in the form of `optax.masked`'s ``mask``.
      ``None`` selects `kernels`.

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
  check_is_params(params)
  return SparsityReport(
    tuple(
      LayerSparsity(name, tuple(leaf.shape), leaf.size, count_nonzero(leaf))
      for name, leaf in named_prunable_leaves(prunable, params)
    )
  )
