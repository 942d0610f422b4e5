"""A language model of Python's sources: pruned by GSM and by its opponents.

All from the first step on, 1,600 steps of the same windows, a cosine after a warm-up.
Dense is the same training without pruning; one shot has one cosine of half as many
steps before the cut, and one after it. The trials are on held-out files, and half as
long.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.markdown import MISSING, table
from experiments.studies.language_recipes import INNER
from experiments.studies.language_runs import (
  COMPRESSIONS,
  CONTINUED,
  LONG,
  METHODS,
  TUNED,
  entries,
)
from experiments.studies.language_trials import (
  TRIED,
  TRIED_AT_5,
  TRIED_LONGER,
  TRIED_TUNED,
  TRIED_UNITS,
)
from experiments.studies.results import Results, of_all_seeds, read
from experiments.studies.study import Study

LABELS = {"sgd": "SGD", "adamw": "AdamW", "muon": "Muon"}


def loss(run: Mapping[str, Any]) -> float:
  """Of the test files, pruned, in nats per byte."""
  if "global" in run:
    return run["global"]["retrained_test_loss"]
  return run["pruned_test_loss"]


def mean_and_error(
  runs: list[dict[str, Any]], of: Callable[[Mapping[str, Any]], float] = loss
) -> tuple[float, float]:
  """The mean loss over the seeds, and its standard error."""
  losses = [of(run) for run in runs]
  mean = sum(losses) / len(losses)
  if len(losses) < 2:
    return mean, math.nan
  variance = sum((x - mean) ** 2 for x in losses) / (len(losses) - 1)
  return mean, math.sqrt(variance / len(losses))


def tables(folder: Path) -> dict[str, str]:
  """All tables by their names in the pages."""
  results = read(folder)
  return {
    "language": methods_table(results),
    "language-continued": continued_table(results),
    "language-long": long_table(results),
    "language-modes": modes_table(results),
    "language-units": units_table(results),
    "language-trials": trials_table(results),
  }


def base_loss(run: Mapping[str, Any]) -> float:
  """Of the test files, before there was any pruning."""
  return run["base_test_loss"]


def _cell(
  runs: list[dict[str, Any]], of: Callable[[Mapping[str, Any]], float] = loss
) -> str:
  if not runs:
    return MISSING
  mean, error = mean_and_error(runs, of)
  return f"{mean:.3f}" + (f" ± {error:.3f}" if len(runs) > 1 else "")


def methods_table(results: Results) -> str:
  """Losses against compression, with standard errors over the seeds."""
  rows: list[list[str]] = []
  for inner in INNER:
    runs = of_all_seeds(results, f"dense-{inner}")
    rows.append([f"dense, {LABELS[inner]}", _cell(runs), *[""] * len(COMPRESSIONS)])
  labels = {name: label for name, (label, _) in METHODS.items()}
  for name, label in (labels | {"one-shot": "one shot, retrained, AdamW"}).items():
    cells = [_cell(of_all_seeds(results, f"{name}-{ratio}x")) for ratio in COMPRESSIONS]
    rows.append([label, "", *cells])
  return table(["", "1×", *(f"{ratio}×" for ratio in COMPRESSIONS)], rows)


def continued_table(results: Results) -> str:
  """Losses beside a dense network's, pruned in its steps or in as many steps again."""
  bases = {run["seed"]: run["base_test_loss"] for run in of_all_seeds(results, "base")}
  of_bases = _cell(of_all_seeds(results, "base"), base_loss)
  rows = [["dense", "1,600", of_bases, "", str(len(bases) or "")]]
  for steps, runs_of in (("1,600", TUNED), ("1,600 + 1,600", CONTINUED)):
    for name, (label, _) in runs_of.items():
      runs = of_all_seeds(results, name)
      distance = ""
      if runs:
        distances = [loss(run) - bases[run["seed"]] for run in runs]
        distance = f"{sum(distances) / len(runs):+.3f}"
      rows.append([label, steps, _cell(runs), distance, str(len(runs) or "")])
  return table(["Muon", "steps", "loss", "to dense, same seed", "seeds"], rows)


def long_table(results: Results) -> str:
  """Losses of the longer runs, and how far they are from the dense one's."""
  dense = of_all_seeds(results, "long-dense-muon")
  rows: list[list[str]] = []
  for name, (label, _) in LONG.items():
    runs = of_all_seeds(results, name)
    distance = ""
    if dense and runs and name != "long-dense-muon":
      distance = f"{mean_and_error(runs)[0] - mean_and_error(dense)[0]:+.3f}"
    rows.append([label, _cell(runs), distance, str(len(runs) or "")])
  return table(["Muon, 4,800 steps", "loss", "to dense", "seeds"], rows)


LENGTH = 128
"""Bytes of a text."""


def units_table(results: Results) -> str:
  """Half of the heads and hidden units, beside the dense and a thinner network."""
  labels = {
    "dense-muon": "dense",
    "units": "half of the units",
    "uniform": "as many multiply-adds, dense from scratch",
  }
  rows: list[list[str]] = []
  for name, label in labels.items():
    runs = of_all_seeds(results, name)
    if not runs:
      rows.append([label, MISSING, "", "", "", ""])
      continue
    found = [run["shrunk"] for run in runs]
    after = sum(each["multiply_adds"][1] for each in found) / len(found) / LENGTH
    speeds = [_tokens(found[0], batch) for batch in (1, 32)]
    rows.append([label, _cell(runs), f"{after:,.0f}", *speeds, str(len(runs))])
  headings = ["", "loss", "multiply-adds a token"]
  return table([*headings, "tokens/s, batch 1", "batch 32", "seeds"], rows)


def _tokens(found: Mapping[str, Any], batch: int) -> str:
  """Per second, before and after."""
  before, after = (batch * LENGTH / x for x in found["seconds"][str(batch)])
  if found["multiply_adds"][0] == found["multiply_adds"][1]:
    return f"{after:,.0f}"
  return f"{before:,.0f} → {after:,.0f}"


def modes_table(results: Results) -> str:
  """By what `sparsify` may select: losses on held-out files."""
  labels = {
    "gradient": "by the gradient; the optimizer sees all of it",
    "masked": "by the gradient; the optimizer sees that of active weights",
    "update": "by the optimizer's update",
  }
  columns = [(inner, ratio) for inner in ("adamw", "muon") for ratio in (5, 10)]
  rows: list[list[str]] = []
  for mode, label in labels.items():
    cells = [
      _cell(of_all_seeds(results, f"try-{inner}-{mode}-{ratio}x"))
      for inner, ratio in columns
    ]
    rows.append([label, *cells])
  return table(["", *(f"{LABELS[x]}, {ratio}×" for x, ratio in columns)], rows)


def trials_table(results: Results) -> str:
  """What was tried on held-out files."""
  at_5 = [f"try-muon-5x-{name}" for name in TRIED_AT_5]
  rows = [
    [f"`{name}`", f"{loss(run):.3f}" if run else MISSING]
    for name in [*TRIED, *at_5, *TRIED_TUNED, *TRIED_LONGER, *TRIED_UNITS]
    for run in [results.get(f"{name}-0")]
  ]
  return table(["", "loss on held-out files"], rows)


COLOURS = {"sgd": "grey", "adamw": "darkorange", "muon": "crimson"}


def against_compression(folder: Path) -> Figure:
  """Loss against compression, with standard errors; a dense network's is level."""
  figure = Figure(figsize=(7.5, 4.8), layout="constrained")
  axes = figure.subplots()
  results = read(folder)
  for name, (label, _) in METHODS.items():
    inner = name.split("-")[-1] if "-" in name else "sgd"
    line = "--" if name.startswith("gradual") else "-"
    _draw_method(axes, results, name, label, color=COLOURS[inner], linestyle=line)
  label = "one shot, AdamW"
  _draw_method(axes, results, "one-shot", label, color="navy", linestyle="-.")
  for inner, colour in COLOURS.items():
    if runs := of_all_seeds(results, f"dense-{inner}"):
      label = f"dense, {LABELS[inner]}"
      axes.axhline(mean_and_error(runs)[0], color=colour, linestyle=":", label=label)
  axes.set_xscale("log")
  axes.set_xticks(COMPRESSIONS, [f"{ratio}×" for ratio in COMPRESSIONS])
  axes.minorticks_off()
  axes.set_xlabel("compression")
  axes.set_ylabel("test loss, nats per byte")
  if axes.get_legend_handles_labels()[0]:  # none without results
    figure.legend(loc="outside right upper")
  return figure


def _draw_method(axes: Axes, results: Results, name: str, label: str, **style: Any):
  found = {
    ratio: mean_and_error(runs)
    for ratio in COMPRESSIONS
    if (runs := of_all_seeds(results, f"{name}-{ratio}x"))
  }
  if not found:
    return
  means = [mean for mean, _ in found.values()]
  errors = [0.0 if math.isnan(error) else error for _, error in found.values()]
  label = label.replace("`", "")
  axes.errorbar(list(found), means, errors, marker="o", capsize=3, label=label, **style)


STUDY = Study(entries(), tables, {"language": against_compression})
