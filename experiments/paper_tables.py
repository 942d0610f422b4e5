"""Tables of the paper's MNIST results, from what `experiments.paper` has committed.

Each row is of the runs that are finished; where none is, it says so.
"""

import json
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.figures import LAYERS, share_below

Results = dict[str, dict[str, Any]]
"""The ``results.json`` of each finished entry, by its name."""

MISSING = "not run yet"
RESULTS_PATH = "experiments/results"


def read(folder: Path) -> Results:
  """All that is finished."""
  return {
    path.parent.name: json.loads(path.read_text())
    for path in sorted(folder.glob("*/results.json"))
  }


def of_all_seeds(results: Results, name: str) -> list[dict[str, Any]]:
  """The runs called ``name-SEED``, by seed."""
  return [
    result
    for entry, result in sorted(results.items())
    if re.fullmatch(rf"{re.escape(name)}-\d+", entry)
  ]


def mean(runs: Sequence[dict[str, Any]], key: str) -> float:
  """Of one number over the seeds."""
  return statistics.mean(run[key] for run in runs)


def spread(runs: Sequence[dict[str, Any]], key: str) -> str:
  """The least and the greatest; empty for a single run."""
  values = [run[key] for run in runs]
  return f"{min(values):.2f} … {max(values):.2f}" if len(values) > 1 else ""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Markdown."""
  return "\n".join(
    [
      f"| {' | '.join(headings)} |",
      f"|{'---|' * len(headings)}",
      *(f"| {' | '.join(row)} |" for row in rows),
    ]
  )


PRUNED = (
  ("LeNet-300-100", "60×", "lenet300-60x", "98.19 → 98.18"),
  ("", "", "lenet300-fast", ""),
  ("LeNet-300-100", "100×", "lenet300-far", ""),
  ("LeNet-300-100", "150×", "lenet300-150x", ""),
  ("LeNet-300-100", "1×", "lenet300-dense", ""),
  ("LeNet-5", "125×", "lenet5-125x", "99.21 → 99.22"),
  ("", "", "lenet5-125x-fast", ""),
  ("LeNet-5", "300×", "lenet5-300x-fast", "99.21 → 99.06"),
  ("LeNet-5", "500×", "lenet5-far", ""),
)
"""Model, compression, entry, and the paper's accuracies before and after."""


def pruned_table(results: Results) -> str:
  """Accuracy of the base models and of the pruned ones, beside the paper's."""
  rows: list[list[str]] = []
  for model, compression, name, paper in PRUNED:
    runs = of_all_seeds(results, name)
    if not runs:
      rows.append([model, compression, f"`{name}`", paper, MISSING, *[""] * 5])
      continue
    first = f"{RESULTS_PATH}/mnist/{name}-{runs[0]['seed']}/results.json"
    row = [model, compression, f"[`{name}`]({first})", paper]
    minutes = statistics.mean(run["wall_seconds"]["total"] for run in runs) / 60
    speed = statistics.mean(run["images_per_second"]["gsm"] for run in runs)
    base, pruned = (mean(runs, f"{part}_accuracy") for part in ("base", "pruned"))
    rows.append(
      [
        *row,
        f"{base:.2f} → **{pruned:.2f}**",
        spread(runs, "pruned_accuracy"),
        str(len(runs)),
        str(runs[0]["config"]["gsm_epochs"]),
        f"{minutes:.1f}",
        f"{speed:,.0f}",
      ]
    )
  headings = ["model", "size", "runs", "paper: base → pruned, %", "base → pruned, %"]
  others = ["least … greatest", "seeds", "GSM epochs", "minutes each", "images/s"]
  return table([*headings, *others], rows)


TICKETS = (
  ("LeNet-300-100", "lenet300-fast", "60×", {"gsm": "98.22", "magnitude": "97.39"}),
  ("LeNet-5", "lenet5-125x-fast", "125×", {"gsm": "99.04", "magnitude": "97.60"}),
  ("LeNet-5", "lenet5-300x-fast", "300×", {"gsm": "98.88", "magnitude": "11.35"}),
)
"""Model, entry, compression, and the paper's accuracy by each method."""


def tickets_table(results: Results) -> str:
  """Accuracy of winning tickets and of their controls, beside the paper's."""
  rows: list[list[str]] = []
  for model, name, compression, paper in TICKETS:
    for method in ("gsm", "magnitude", "random"):
      runs = of_all_seeds(results, f"ticket-{name}-{method}")
      if not runs and method not in paper:
        continue
      row = [f"{model}, {compression}", method, paper.get(method, "")]
      if not runs:
        rows.append([*row, MISSING, "", "", "", ""])
        continue
      seconds = statistics.mean(run["wall_seconds"]["ticket"] for run in runs)
      rows.append(
        [
          *row,
          f"**{mean(runs, 'ticket_accuracy'):.2f}**",
          spread(runs, "ticket_accuracy"),
          f"{mean(runs, 'reinitialised_accuracy'):.2f}",
          f"{mean(runs, 'shuffled_accuracy'):.2f}",
          f"{len(runs)}, {seconds / 60:.1f} min",
        ]
      )
  headings = ["", "found by", "paper, %", "ticket, %", "least … greatest"]
  return table(
    [*headings, "other initial values", "other places", "seeds, time to train"], rows
  )


def compression_table(results: Results) -> str:
  """Accuracy of GSM and of magnitude pruning at the same compressions, one seed."""
  rows: list[list[str]] = []
  for compression in (12, 30, 60, 100):
    gsm = results.get(f"lenet300-{compression}x-0")
    magnitude = results.get(f"magnitude-lenet300-{compression}x-0")
    cells = [f"**{gsm['pruned_accuracy']:.2f}**" if gsm else MISSING]
    for way in ("global", "uniform"):
      for key in ("one_shot", "retrained"):
        accuracy = magnitude and magnitude[way][f"{key}_accuracy"]
        cells.append(f"{accuracy:.2f}" if accuracy else MISSING)
    rows.append([f"{compression}×", *cells])
  one_shot, retrained = "magnitude, {}, one shot", "magnitude, {}, retrained"
  headings = ["", "GSM"]
  for way in ("global", "uniform"):
    headings += [one_shot.format(way), retrained.format(way)]
  return table(headings, rows)


def layers_table(results: Results) -> str:
  """Weights kept in each layer, by GSM and by magnitude."""
  rows: list[list[str]] = []
  for name, *entries in LAYERS:
    if not all(entry in results for entry in entries):
      continue
    gsm, magnitude = (results[entry] for entry in entries)
    gsm, magnitude = gsm["layers"], magnitude["global"]["layers"]
    for ours, theirs in zip(gsm, magnitude, strict=True):
      layer = ours["path"].removesuffix("/kernel")
      rows.append(
        [
          f"{name}, {layer}",
          f"{ours['size']:,}",
          f"{ours['kept']:,} ({ours['density']:.2%})",
          f"{theirs['kept']:,} ({theirs['density']:.2%})",
        ]
      )
  return table(["layer", "weights", "kept by GSM", "kept by magnitude"], rows)


def momentum_table(folder: Path, results: Results) -> str:
  """What vanishes with each momentum, and what pruning then costs."""
  rows: list[list[str]] = []
  for beta in ("0.9", "0.95", "0.98", "0.99"):
    name = f"lenet300-momentum-{beta}-0" if beta != "0.99" else "lenet300-60x-0"
    if name not in results:
      rows.append([beta, MISSING, "", "", ""])
      continue
    last = (folder / name / "metrics.jsonl").read_text().splitlines()[-1]
    record = json.loads(last)
    shares = [f"{share_below(record, exponent):.2%}" for exponent in (-3, -4)]
    accuracies = [
      f"{results[name][key]:.2f}" for key in ("gsm_accuracy", "pruned_accuracy")
    ]
    rows.append([beta, *shares, *accuracies])
  sizes = [f"weights with \\|w\\| < 1e-{exponent}" for exponent in (3, 4)]
  return table(["β", *sizes, "after GSM, %", "pruned, %"], rows)


RECIPE_LABELS = {
  "recipe": "`lenet300-fast`",
  "no-shift": "images not shifted",
  "shift-2": "images shifted by up to two pixels",
  "one-density": "the final density from the start",
  "start-at-0.5": "a density of 0.5 at the start instead of 0.2",
  "one-decay": "one decay for all",
  "drops": "two tenfold drops instead of a cosine",
  "momentum-0.9": "momentum 0.9",
  "momentum-0.97": "momentum 0.97",
  "momentum-0.99": "momentum 0.99, learning rate 0.03",
  "batch-128": "batches of 128, learning rate 0.05",
  "no-nesterov": "no Nesterov",
  "smoothing-0.5": "saliencies averaged, 0.5",
  "120-epochs": "120 epochs",
}
"""Each variant of the recipe in words, by its name in `experiments.paper.RECIPES`."""


FAR_LABELS = {
  "150x-share-1": "LeNet-300-100, 150×, active share 1",
  "150x-share-0.9": "0.9",
  "150x-share-0.8": "0.8",
  "500x-share-1": "LeNet-5, 500×, active share 1",
  "500x-share-0.87": "0.87",
  "500x-no-shift": "1, images not shifted",
  "500x-smoothing-0.5": "0.9, saliencies averaged, 0.5",
  "500x-passive-2e-3": "0.87, passive decay of 2e-3 instead of 6e-3",
  "500x-slow": "0.87, density falls over 42 epochs instead of 24",
  "500x-120-epochs": "0.9, 120 epochs, density falls over 48",
}
"""The same, of those that go farther."""


def recipes_table(folder: Path) -> str:
  """Accuracy of the recipe and of its variants on held-out images."""
  return variants_table(
    folder,
    RECIPE_LABELS,
    {"base, %": lambda runs: f"{mean(runs, 'base_accuracy'):.2f}"},
  )


def far_table(folder: Path) -> str:
  """What stays alive at high compression, and what pruning costs."""

  def alive(runs: Sequence[dict[str, Any]]) -> str:
    return f"{mean(runs, 'alive'):,.0f}"

  return variants_table(
    folder,
    FAR_LABELS,
    {
      "kept": lambda runs: f"{runs[0]['num_kept']:,}",
      "weights with \\|w\\| ≥ 1e-3": alive,
    },
  )


def variants_table(
  folder: Path,
  labels: dict[str, str],
  columns: dict[str, Callable[[Sequence[dict[str, Any]]], str]],
) -> str:
  """A row for each variant that `labels` name, with `columns` of its runs' results."""
  results = read(folder)
  for entry, result in results.items():
    result["alive"] = number_alive(folder / entry)
  accuracies = {
    "after GSM, %": lambda runs: f"{mean(runs, 'gsm_accuracy'):.2f}",
    "pruned, %": lambda runs: f"**{mean(runs, 'pruned_accuracy'):.2f}**",
    "seeds": lambda runs: str(len(runs)),
  }
  columns = columns | accuracies
  rows: list[list[str]] = []
  for name, label in labels.items():
    runs = of_all_seeds(results, name)
    missing = [MISSING, *[""] * (len(columns) - 1)]
    cells = [cell(runs) for cell in columns.values()] if runs else missing
    rows.append([f"`{name}`", label, *cells])
  return table(["run", "", *columns], rows)


def number_alive(folder: Path) -> float:
  """How many weights a run ended with that are 1e-3 or more."""
  record = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
  size = sum(record["log10_magnitude"]["counts"])
  return size * (1 - share_below(record, -3))


def paper_tables(folder: Path) -> dict[str, str]:
  """Every table of a folder of results, by the name in its marks."""
  mnist = folder / "mnist"
  results = read(mnist)
  makers: dict[str, Callable[[Results], str]] = {
    "paper-pruned": pruned_table,
    "paper-tickets": tickets_table,
    "paper-compression": compression_table,
    "paper-layers": layers_table,
  }
  made = {name: make(results) for name, make in makers.items()}
  return {
    **made,
    "paper-momentum": momentum_table(mnist, results),
    "recipes": recipes_table(folder / "recipes"),
    "far": far_table(folder / "recipes"),
  }
