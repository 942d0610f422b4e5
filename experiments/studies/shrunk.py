"""What the zeros of each recipe are worth: networks shrunk, and timed on two CPU cores.

One run of each recipe; see `experiments.jobs.shrunk`.
"""

from pathlib import Path
from typing import Any

from experiments.markdown import MISSING, table
from experiments.studies.results import read
from experiments.studies.shrunk_figure import shrunk_figure
from experiments.studies.study import Entry, Study

PRESETS = (
  *("digits", "lenet300-mnist", "lenet300-fast", "lenet300-far", "resnet56-digits"),
  *("lenet5-fast", "lenet5-far", "lenet5-mnist"),
)
"""The quick ones first."""


def entries() -> list[Entry]:
  """All runs."""
  return [Entry(f"{preset}-0", preset) for preset in PRESETS]


def tables(folder: Path) -> dict[str, str]:
  """Sizes and speeds, before and after."""
  results = read(folder)
  rows = [_row(preset, results.get(f"{preset}-0")) for preset in PRESETS]
  headings = ["", "pruned", "accuracy, %", "widths", "numbers", "multiply-adds"]
  batches = [f"batch {batch}" for batch in (1, 32, 1000)]
  shown = {"shrunk": table([*headings, *batches], rows)}
  if digits := results.get("digits-0"):
    shown["shrunk-digits"] = _sentence(digits["shrunk"])
  return shown


def _sentence(found: dict[str, Any]) -> str:
  before, after = found["weights"]
  faster = [slow / quick for slow, quick in found["seconds"].values()]
  return (
    f"The result is a smaller network with the same outputs: {after:,} of {before:,}"
    " numbers, since zeros within units that are still needed stay. It ran"
    f" {min(faster):.1f} to {max(faster):.1f} times as fast, depending on the batch."
  )


def _row(preset: str, run: dict[str, Any] | None) -> list[str]:
  if run is None:
    return [f"`{preset}`", MISSING, *[""] * 7]
  found = run["shrunk"]
  layers = found["layers"]
  widths = ""
  if len(layers) < 5:
    # Of what comes out of each layer, and of what goes into the first.
    sizes = [layers[0]["after"][-2], *(layer["after"][-1] for layer in layers)]
    widths = "-".join(map(str, sizes))
  pairs = [found["weights"], found["multiply_adds"]]
  fewer = [f"{after:,} ({before / after:.1f}× fewer)" for before, after in pairs]
  faster = [
    f"{times[0] / times[1]:.1f}×" if (times := found["seconds"].get(str(batch))) else ""
    for batch in (1, 32, 1000)
  ]
  accuracy = f"{run['pruned_accuracy']:.2f}"
  compression = f"{run['compression_ratio']:.0f}×"
  return [f"`{preset}`", compression, accuracy, widths, *fewer, *faster]


STUDY = Study(entries(), tables, {"rows-and-columns": shrunk_figure})
