"""The pictures that explain the runs on MNIST."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import gsm_optax
from experiments.studies.mnist.runs import (
  COMPRESSIONS,
  EACH_EPOCH,
  FIXED,
  LAYERS,
  MOMENTA,
)
from experiments.studies.results import number, read_records, share_below
from experiments.train.schedules import Drops

IMAGES_PER_EPOCH = 60_000


def _results(name: str, folder: Path) -> dict[str, Any]:
  return json.loads((folder / name / "results.json").read_text())


def _records(name: str, folder: Path) -> list[dict[str, Any]]:
  """The evaluations of a run since GSM began; epoch 0 is the base model."""
  records = read_records(folder / name)
  last_base = [record for record in records if record["phase"] == "base"][-1]
  gsm = [record for record in records if record["phase"] == "gsm"]
  return [{**last_base, "epoch": 0}, *gsm]


def _against_epochs(
  records: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float]
) -> tuple[list[int], list[float]]:
  """The two coordinates of a line: each evaluation's epoch, and one number of it."""
  epochs = [record["epoch"] for record in records]
  return epochs, [value(record) for record in records]


def _pruned_accuracy(record: dict[str, Any]) -> float:
  return record["pruned_accuracy"]


def layers(folder: Path) -> Figure:
  """How dense each layer stays: by GSM, by magnitude, and uniformly."""
  figure = Figure(figsize=(12, 4.2), layout="constrained")
  for axes, (title, gsm, magnitude) in zip(figure.subplots(1, 2), LAYERS, strict=True):
    found = [_results(gsm, folder)["layers"]]
    found.append(_results(magnitude, folder)["global"]["layers"])
    styles = [("GSM", "crimson"), ("magnitude of the base", "steelblue")]
    for place, ((label, colour), rows) in enumerate(zip(styles, found, strict=True)):
      percents = [100 * row["density"] for row in rows]
      positions = np.arange(len(rows)) + 0.4 * (place - 0.5)
      bars = axes.bar(positions, percents, 0.4, color=colour, label=label)
      axes.bar_label(bars, [f"{percent:.2g}" for percent in percents], fontsize=8)
    rows = _results(gsm, folder)["layers"]
    names = [row["path"].removesuffix("/kernel") for row in rows]
    axes.set_xticks(range(len(rows)), names)
    whole = 100 * _results(gsm, folder)["density"]
    axes.axhline(whole, color="black", linestyle="--", label="uniform")
    axes.set_yscale("log")
    axes.set_ylabel("% of the layer's weights kept")
    axes.set_title(title)
    axes.legend()
  return figure


def momentum(folder: Path) -> Figure:
  """Vanished weights and the accuracy if pruned, for several momenta."""
  figure = Figure(figsize=(13, 4.2), layout="constrained")
  left, middle, right = figure.subplots(1, 3)
  colours = ("tab:grey", "tab:olive", "tab:cyan", "crimson")
  for (beta, name), colour in zip(MOMENTA.items(), colours, strict=True):
    records = _records(name, folder)
    values: tuple[Callable[[dict[str, Any]], float], ...] = (
      lambda record: 100 * share_below(record, -3),
      lambda record: 100 * share_below(record, -4),
      _pruned_accuracy,
    )
    for axes, value in zip((left, middle, right), values, strict=True):
      line = _against_epochs(records, value)
      axes.plot(*line, color=colour, label=f"β = {beta}")
  for axes, exponent in ((left, -3), (middle, -4)):
    axes.axhline(100 * 59 / 60, color="black", linestyle=":", linewidth=0.8)
    axes.set_title(f"Weights with |w| < 1e{exponent}")
    axes.set_ylabel("% of all")
  right.set_title("Test accuracy if pruned now, 60×")
  right.set_ylabel("%")
  right.set_ylim(80, 100)
  for axes in (left, middle, right):
    axes.set_xlabel("epoch of GSM")
    axes.legend()
  return figure


def reactivation(folder: Path) -> Figure:
  """What leaves the active set and comes back, and what happens if nothing may."""
  figure = Figure(figsize=(12, 4.2), layout="constrained")
  left, right = figure.subplots(1, 2)
  free, fixed = (_records(name, folder) for name in (EACH_EPOCH, FIXED))
  for key, label, colour in (
    ("active_set_changed", "entered", "steelblue"),
    ("reactivated", "of these, had been active before", "crimson"),
  ):
    line = _against_epochs(free[1:], lambda record, key=key: 100 * record[key])
    left.plot(*line, color=colour, label=label)
  left.set_title("Active set of one fixed batch, from epoch to epoch")
  left.set_ylabel("% of the active set (as many leave)")
  for records, label, colour in (
    (free, "chosen at every step", "crimson"),
    (fixed, "fixed after the first epoch", "steelblue"),
  ):
    label = f"{label}: {records[-1]['pruned_accuracy']:.2f} %"
    right.plot(*_against_epochs(records, _pruned_accuracy), color=colour, label=label)
  right.set_ylim(90, 99)
  right.set_title("Test accuracy if pruned now, 60×")
  right.set_ylabel("%")
  for axes in (left, right):
    axes.set_xlabel("epoch of GSM")
    axes.legend()
  return figure


def shrinkage(folder: Path) -> Figure:
  """The median weight against what a weight without gradient does by calculation."""
  figure = Figure(figsize=(7, 4.6), layout="constrained")
  axes = figure.subplots()
  records = _records("lenet300-60x-0", folder)
  result = _results("lenet300-60x-0", folder)
  steps_per_epoch = IMAGES_PER_EPOCH // number(result, "batch_size")
  epochs = number(result, "gsm.epochs")
  schedule = Drops(
    *(
      number(result, f"gsm.schedule.{name}")
      for name in ("peak", "after", "warmup_epochs")
    )
  ).build(epochs, steps_per_epoch)
  steps = np.arange(epochs * steps_per_epoch)
  rates = np.asarray(jax.vmap(schedule)(steps))
  momentum, decay, nesterov = (
    number(result, f"gsm.optimizer.{name}")
    for name in ("momentum", "weight_decay", "nesterov")
  )
  sizes = gsm_optax.share_left(
    *(schedule, 1 + steps, momentum, decay), nesterov=nesterov
  )
  formula = np.exp(-np.cumsum(rates) * decay / (1 - momentum))
  axes.plot(steps / steps_per_epoch, sizes, color="black", label="update, iterated")
  axes.plot(
    *(steps / steps_per_epoch, formula),
    color="grey",
    linestyle="--",
    label="exp(−Σ αη/(1−β))",
  )
  start = records[0]["median_magnitude"]
  axes.plot(
    *_against_epochs(records, lambda record: record["median_magnitude"] / start),
    *("o",),
    color="crimson",
    markersize=4,
    label="median |w| of all weights, measured",
  )
  axes.set_yscale("log")
  axes.set_xlabel("epoch of GSM")
  axes.set_ylabel("size, of that at the start")
  axes.set_title("LeNet-300-100, 60×: the median weight is a passive one")
  axes.legend()
  return figure


def compression(folder: Path) -> Figure:
  """Accuracy against compression: GSM, and what magnitude pruning gives."""
  figure = Figure(figsize=(7.5, 4.8), layout="constrained")
  axes = figure.subplots()
  ratios = COMPRESSIONS
  magnitude = [_results(f"magnitude-lenet300-{ratio}x-0", folder) for ratio in ratios]
  gsm = [_results(f"lenet300-{ratio}x-0", folder) for ratio in ratios]
  lines = [("GSM", "crimson", [run["pruned_accuracy"] for run in gsm])]
  for way, colour in (("global", "steelblue"), ("uniform", "tab:olive")):
    for key, label in (("retrained", "retrained"), ("one_shot", "one shot")):
      accuracies = [run[way][f"{key}_accuracy"] for run in magnitude]
      lines.append((f"magnitude, {way}, {label}", colour, accuracies))
  for label, colour, accuracies in lines:
    style = ":" if "one shot" in label else "-"
    axes.plot(ratios, accuracies, style, marker="o", color=colour, label=label)
  base = magnitude[0]["base_accuracy"]
  axes.axhline(base, color="grey", linewidth=0.8, label=f"base, {base:.2f} %")
  axes.set_xscale("log")
  axes.set_xticks(ratios, [f"{ratio}×" for ratio in ratios])
  axes.minorticks_off()
  # From 90 % up most of the picture, and all below it compressed.
  axes.set_yscale(
    "function", functions=(lambda y: -np.log(101 - y), lambda y: 101 - np.exp(-y))
  )
  ticks = (10, 50, 80, 90, 95, 97, 98, 98.5)
  axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
  axes.set_ylim(5, 98.8)
  axes.set_xlabel("compression")
  axes.set_ylabel("test accuracy, %")
  axes.set_title("LeNet-300-100 on MNIST, seed 0")
  axes.legend()
  return figure


FIGURES: dict[str, Callable[[Path], Figure]] = {
  "layers": layers,
  "momentum": momentum,
  "reactivation": reactivation,
  "shrinkage": shrinkage,
  "compression": compression,
}
