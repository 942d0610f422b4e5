"""A winning ticket as a file: a mask and the initial values of the weights it keeps."""

import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from rich.table import Table

import gsm_optax
from experiments.run.errors import reason
from experiments.run.files import writing
from experiments.run.terminal import shown
from experiments.train.kernels import kernel_mask


class TicketError(Exception):
  """A file is no ticket, or two do not belong to the same model; in one sentence."""


class Ticket(NamedTuple):
  """A sparse network to be trained.

  Attributes:
    mask: boolean tree like the params, True where a weight is kept.
    initial: the params to start from, zero where the mask is False.
    source: how the ticket was found, as JSON has it.
  """

  mask: Any
  initial: Any
  source: dict[str, Any]

  def save(self, path: Path) -> None:
    """Writes a NumPy archive; what is kept takes most of it."""
    masks: dict[str, Any] = flatten_dict(self.mask, sep="/")
    initial: dict[str, Any] = flatten_dict(self.initial, sep="/")
    arrays: dict[str, Any] = {
      f"mask/{name}": np.asarray(leaf) for name, leaf in masks.items()
    }
    arrays |= {f"initial/{name}": np.asarray(leaf) for name, leaf in initial.items()}
    with writing(path) as partial, partial.open("wb") as file:
      np.savez_compressed(file, source=np.array(json.dumps(self.source)), **arrays)

  @classmethod
  def load(cls, path: Path) -> "Ticket":
    """Reads what `save` wrote.

    Raises:
      TicketError: if the file is missing or no ticket.
    """
    try:
      return cls._read(path)
    except Exception as error:
      # What others have made fails in many ways: no archive, too deep a tree.
      raise TicketError(f"{path} is no ticket: {reason(error)}") from error

  @classmethod
  def _read(cls, path: Path) -> "Ticket":
    # Of any other file NumPy says that it is pickled, and how to load it even so.
    with zipfile.ZipFile(path), np.load(path) as archive:
      arrays = {name: archive[name] for name in archive.files}
    source = json.loads(str(arrays.pop("source")))
    trees: dict[str, Any] = unflatten_dict(arrays, sep="/")
    if trees.keys() != {"mask", "initial"} or not isinstance(source, dict):
      raise ValueError("it needs masks, initial values and their source.")
    masks: dict[str, Any] = flatten_dict(trees["mask"], sep="/")
    initial: dict[str, Any] = flatten_dict(trees["initial"], sep="/")
    fits = masks.keys() == initial.keys() and all(
      leaf.dtype == bool
      and leaf.shape == initial[name].shape
      and np.issubdtype(initial[name].dtype, np.floating)
      for name, leaf in masks.items()
    )
    if not fits:
      raise ValueError(
        "each mask must be boolean, and of the shape of the initial values of the same"
        " name."
      )
    ticket = cls(trees["mask"], trees["initial"], source)
    _ = ticket.report  # there is something prunable
    return ticket

  @property
  def report(self) -> gsm_optax.SparsityReport:
    """What is kept of each layer."""
    return gsm_optax.sparsity_report(jax.tree.map(np.float32, self.mask))


def table(ticket: Ticket) -> Table:
  """The ticket's layers, and how it was found."""
  report = ticket.report
  found = ", ".join(f"{name} {value}" for name, value in ticket.source.items())
  result = Table(title=shown(f"{report.compression_ratio:.1f}× ticket ({found})"))
  for heading in ("layer", "weights", "kept", "density", "mean |initial|"):
    result.add_column(heading, justify="right")
  initial: dict[str, Any] = flatten_dict(ticket.initial, sep="/")
  for layer in report.layers:
    size = np.abs(initial[layer.path]).sum() / max(layer.kept, 1)
    result.add_row(
      shown(layer.path), f"{layer.size:,}", f"{layer.kept:,}", f"{layer.density:.2%}",
      f"{size:.3g}",
    )  # fmt: skip
  result.add_section()
  result.add_row(
    "total", f"{report.size:,}", f"{report.kept:,}", f"{report.density:.2%}"
  )
  return result


class Overlap(NamedTuple):
  """What two tickets share of a layer, or of the whole model.

  Attributes:
    layer: its path, or ``"total"``.
    first: how many weights the first ticket keeps.
    second: how many the second one does.
    common: how many both do.
    by_chance: how many both would, were they drawn independently in every layer.
  """

  layer: str
  first: int
  second: int
  common: int
  by_chance: float

  @property
  def jaccard(self) -> float:
    """Common weights as a share of those that at least one of the two keeps."""
    return self.common / max(self.first + self.second - self.common, 1)


def overlap(first: Ticket, second: Ticket) -> list[Overlap]:
  """What two tickets have in common: a row for each pruned layer, and the total.

  Raises:
    TicketError: if they are not of the same model.
  """
  masks: list[dict[str, Any]] = [
    dict(flatten_dict(ticket.mask, sep="/")) for ticket in (first, second)
  ]
  shapes = [{name: mask.shape for name, mask in part.items()} for part in masks]
  if shapes[0] != shapes[1]:
    raise TicketError("The two tickets are not of the same model.")
  is_kernel = kernel_mask(masks[0])
  rows: list[Overlap] = []
  for name, a in masks[0].items():
    if is_kernel[name]:
      b = masks[1][name]
      kept_a, kept_b = int(a.sum()), int(b.sum())
      common = int((a & b).sum())
      rows.append(Overlap(name, kept_a, kept_b, common, kept_a * kept_b / a.size))
  total = Overlap(
    "total",
    sum(row.first for row in rows),
    sum(row.second for row in rows),
    sum(row.common for row in rows),
    sum(row.by_chance for row in rows),
  )
  return [*rows, total]


def overlap_table(rows: list[Overlap]) -> Table:
  """The rows of `overlap`, to print."""
  result = Table(title="Weights that both tickets keep")
  for heading in ("layer", "first", "second", "common", "by chance", "of either"):
    result.add_column(heading, justify="right")
  for row in rows:
    if row.layer == "total":
      result.add_section()
    result.add_row(
      shown(row.layer), f"{row.first:,}", f"{row.second:,}", f"{row.common:,}",
      f"{row.by_chance:,.1f}", f"{row.jaccard:.1%}",
    )  # fmt: skip
  return result
