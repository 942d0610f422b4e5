"""How training steps are timed side by side, shown, and written to step.json."""

import math
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.run.files import write_json
from experiments.run.surroundings import surroundings
from experiments.run.timing import side_by_side

Makers = Sequence[Callable[[], dict[str, Callable[[], Any]]]]
"""Functions that set up anew what takes turns with each other."""


def measure(
  makers: Makers, steps: int, repeats: int, seconds_each: float
) -> tuple[dict[str, float], dict[str, float], dict[str, list[float]]]:
  """Median seconds of a step, median ratios to the first of each maker, and all."""
  times: dict[str, list[float]] = {}
  ratios: dict[str, list[float]] = {}
  for repeat in range(repeats):
    for make in makers:
      runs = list(make().items())
      if not runs:
        continue
      first = runs[0][0]
      turned = runs[repeat % len(runs) :] + runs[: repeat % len(runs)]
      measured = side_by_side(dict(turned), seconds_each)
      for name, time in measured.items():
        times.setdefault(name, []).append(time / steps)
        ratios.setdefault(name, []).append(time / measured[first])
  seconds, ratio = (
    {name: statistics.median(values) for name, values in found.items()}
    for found in (times, ratios)
  )
  return seconds, ratio, ratios


def check(models: Sequence[str], steps: int, repeats: int, seconds: float) -> None:
  """Ends the program with a sentence if there is nothing that could be measured."""
  if min(len(models), steps, repeats) < 1:
    sys.exit("error: --models, --steps and --repeats must not be empty or 0.")
  if not 0 < seconds < math.inf:
    sys.exit(f"error: --seconds must be above 0 and finite, not {seconds}.")


def show(
  title: str,
  measured: tuple[dict[str, float], dict[str, float], dict[str, list[float]]],
  console: Console,
) -> dict[str, Any]:
  """Prints what `measure` gave as a table, and returns it by its names in step.json."""
  seconds, ratios, spread = measured
  table = Table(title=title)
  for heading in ("one training step", "ms", "ratio to its SGD"):
    table.add_column(heading, justify="left" if "step" in heading else "right")
  for name, time in seconds.items():
    table.add_row(name, f"{1e3 * time:.3f}", f"{ratios[name]:.3f}")
  console.print(table)
  return {"seconds": seconds, "ratio_to_sgd": ratios, "ratios": spread}


def write(
  rows: list[dict[str, Any]], config: dict[str, Any], folder: Path, console: Console
) -> None:
  """Writes step.json."""
  folder.mkdir(parents=True, exist_ok=True)
  results = {"rows": rows, "config": config | {"out": str(folder)}, **surroundings()}
  write_json(folder / "step.json", results)
  console.print(f"Written to {folder / 'step.json'}")
