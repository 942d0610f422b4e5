"""Reading the results of finished runs."""

import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.configs.recipe import flatten

RESULTS = Path(__file__).parents[1] / "results"
"""The folder of all that is committed."""

Result = dict[str, Any]
"""One ``results.json``."""

Results = dict[str, Result]
"""The ``results.json`` of each finished entry, by its name."""

SINCE_NESTED = {
  "data.held_out": "held_out",
  "gsm.epochs": "gsm_epochs",
  "gsm.schedule.peak": "learning_rate",
  "gsm.schedule.after": "drops",
  "gsm.schedule.warmup_epochs": "warmup_epochs",
  "gsm.optimizer.momentum": "momentum",
  "gsm.optimizer.weight_decay": "weight_decay",
  "gsm.optimizer.nesterov": "nesterov",
  "gsm.optimizer.smoothing": "smoothing",
}
"""The names of numbers, and those that they had in results of version 0.1."""


def number(result: Result, name: str) -> Any:
  """One number of a run's recipe by its dotted name; ``None`` if it has no such."""
  config = result["config"]
  return flatten(config).get(name, config.get(SINCE_NESTED.get(name, name)))


def read(folder: Path) -> Results:
  """All that is finished."""
  return {
    path.parent.name: json.loads(path.read_text())
    for path in sorted(folder.glob("*/results.json"))
  }


def read_records(folder: Path) -> list[dict[str, Any]]:
  """The evaluations of one run."""
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


def of_all_seeds(results: Results, name: str) -> list[Result]:
  """The runs called ``name-SEED``, by seed."""
  return [
    result
    for entry, result in sorted(results.items())
    if re.fullmatch(rf"{re.escape(name)}-\d+", entry)
  ]


def mean(runs: Sequence[Result], key: str) -> float:
  """Of one number over the seeds."""
  return statistics.mean(run[key] for run in runs)


def standard_error(runs: Sequence[Result], key: str) -> str:
  """Of the mean over the seeds; empty for a single run."""
  if len(runs) < 2:
    return ""
  return f"{statistics.stdev(run[key] for run in runs) / len(runs) ** 0.5:.2f}"


def spread(runs: Sequence[Result], key: str) -> str:
  """The least and the greatest; empty for a single run."""
  values = [run[key] for run in runs]
  return f"{min(values):.2f} … {max(values):.2f}" if len(values) > 1 else ""


def share_below(record: dict[str, Any], exponent: float) -> float:
  """Of the weights, how many have log10 |w| below; at the edge of a bin."""
  histogram = record["log10_magnitude"]
  counts = np.array(histogram["counts"])
  edges = np.linspace(histogram["lowest"], histogram["highest"], len(counts) + 1)
  return counts[edges[1:] <= exponent + 1e-9].sum() / counts.sum()


def number_alive(folder: Path) -> float:
  """How many weights a run ended with that are 1e-3 or more."""
  record = read_records(folder)[-1]
  size = sum(record["log10_magnitude"]["counts"])
  return size * (1 - share_below(record, -3))
