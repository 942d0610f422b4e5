"""Tables of the runs on MNIST, each of what is finished."""

import statistics
from pathlib import Path

from experiments.markdown import MISSING, table
from experiments.studies.mnist.runs import (
  COMPRESSIONS,
  LAYERS,
  MOMENTA,
  PRUNED,
  TICKETS,
)
from experiments.studies.results import (
  Results,
  mean,
  number,
  of_all_seeds,
  read,
  read_records,
  share_below,
  spread,
)


def tables(folder: Path) -> dict[str, str]:
  """Every table by its name in the pages."""
  results = read(folder)
  return {
    "paper-pruned": pruned_table(results),
    "paper-tickets": tickets_table(results),
    "paper-compression": compression_table(results),
    "paper-layers": layers_table(results),
    "paper-momentum": momentum_table(folder, results),
  }


def pruned_table(results: Results) -> str:
  """Accuracy of the base models and of the pruned ones, beside the paper's."""
  rows: list[list[str]] = []
  for model, compression, name, paper in PRUNED:
    runs = of_all_seeds(results, name)
    if not runs:
      rows.append([model, compression, f"`{name}`", paper, MISSING, *[""] * 5])
      continue
    first = f"experiments/results/mnist/{name}-{runs[0]['seed']}/results.json"
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
        str(number(runs[0], "gsm.epochs")),
        f"{minutes:.1f}",
        f"{speed:,.0f}",
      ]
    )
  headings = ["model", "size", "runs", "paper: base → pruned, %", "base → pruned, %"]
  others = ["least … greatest", "seeds", "GSM epochs", "minutes each", "images/s"]
  return table([*headings, *others], rows)


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
  for compression in COMPRESSIONS:
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
  for beta, name in MOMENTA.items():
    if name not in results:
      rows.append([beta, MISSING, "", "", ""])
      continue
    record = read_records(folder / name)[-1]
    shares = [f"{share_below(record, exponent):.2%}" for exponent in (-3, -4)]
    accuracies = [
      f"{results[name][key]:.2f}" for key in ("gsm_accuracy", "pruned_accuracy")
    ]
    rows.append([beta, *shares, *accuracies])
  sizes = [f"weights with \\|w\\| < 1e-{exponent}" for exponent in (3, 4)]
  return table(["β", *sizes, "after GSM, %", "pruned, %"], rows)
