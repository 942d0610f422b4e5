"""The picture of one run."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

NAMES = 20
"""Layers that are named in a picture, at most."""


def report_figure(records: list[dict[str, Any]], results: dict[str, Any]) -> Figure:
  """The panels that tell how a run went, and what came of it.

  Args:
    records: the lines of its ``metrics.jsonl``.
    results: its ``results.json``.
  """
  shrunk = results.get("shrunk")
  figure = Figure(figsize=(20 if shrunk else 15, 4.6), layout="constrained")
  panels = figure.subplots(1, 4 if shrunk else 3)
  _magnitudes(panels[0], records, of_units="unit_norms" in results)
  _densities(panels[1], results)
  _accuracies(panels[2], records, results)
  if shrunk:
    _widths(panels[3], shrunk)
  figure.suptitle(
    f"{results['preset']}, seed {results['seed']}: {results['num_prunable']:,} weights"
    f" pruned to {results['num_kept']:,} ({results['compression_ratio']:.0f}×)"
  )
  return figure


def _magnitudes(axes: Axes, records: list[dict[str, Any]], of_units: bool) -> None:
  what, size = ("units", "norm") if of_units else ("weights", "|w|")
  axes.set_title(f"Size of the {what}: the passive ones leave")
  axes.set_xlabel("epoch")
  axes.set_ylabel(f"$\\log_{{10}}$ {size}" if of_units else "$\\log_{10}|w|$")
  epochs = np.array([record["total_epochs"] for record in records])
  histogram = records[0]["log10_magnitude"]
  counts = np.array([record["log10_magnitude"]["counts"] for record in records])
  exponents = np.linspace(
    histogram["lowest"], histogram["highest"], counts.shape[1] + 1
  )
  # Each column reaches from its evaluation halfway to those beside it.
  middles = (epochs[1:] + epochs[:-1]) / 2
  edges = np.concatenate([epochs[:1] - 0.5, middles, epochs[-1:] + 0.5])
  mesh = axes.pcolormesh(
    edges,
    exponents,
    np.ma.masked_equal(counts.T, 0),
    norm=LogNorm(1, max(counts.max(), 10)),
    cmap="viridis_r",
    rasterized=True,
  )
  axes.figure.colorbar(mesh, ax=axes, label=f"number of {what} (lowest row: all below)")
  at_q = np.array([record["magnitude_at_q"] for record in records])
  with np.errstate(divide="ignore"):
    axes.plot(epochs, np.log10(at_q), color="crimson", label=f"{size} at rank Q")
  axes.set_ylim(histogram["lowest"], histogram["highest"])
  _mark_gsm(axes, records)
  axes.legend(loc="lower left")


def _densities(axes: Axes, results: dict[str, Any]) -> None:
  axes.set_title("Weights kept per layer")
  axes.set_xlabel("% of the layer's weights (log scale)")
  layers = results["layers"][::-1]
  names = [layer["path"].removesuffix("/kernel") for layer in layers]
  percents = [100 * layer["density"] for layer in layers]
  places = range(len(layers))
  bars = axes.barh(places, percents, color="steelblue")
  # There is room for so many names, and beside fewer for numbers.
  step = -(-len(layers) // NAMES)
  axes.set_yticks(places[::step], names[::step], fontsize="medium" if step == 1 else 7)
  if step == 1:
    labels = [f" {layer['kept']:,} of {layer['size']:,}" for layer in layers]
    axes.bar_label(bars, labels)
  whole = 100 * results["density"]
  axes.axvline(whole, color="crimson", linestyle="--", label=f"whole: {whole:.3g} %")
  axes.set_xscale("log")
  present = [percent for percent in [*percents, whole] if percent]
  axes.set_xlim(min(present) / 3, max(present) * 10)
  axes.legend(loc="lower right")


def _widths(axes: Axes, shrunk: dict[str, Any]) -> None:
  before, after = shrunk["weights"]
  axes.set_title(f"Shrunk: {before:,} numbers to {after:,}")
  axes.set_xlabel("inputs, and outputs of each layer (log scale)")
  layers = shrunk["layers"][::-1]
  names = [layer["path"].removesuffix("/kernel") for layer in layers]
  widths = {key: [layer[key][-1] for layer in layers] for key in ("before", "after")}
  # The images are the first layer's input.
  names.append("inputs")
  for key, row in widths.items():
    row.append(layers[-1][key][-2])
  places = range(len(names))
  axes.barh(places, widths["before"], color="lightgrey", label="pruned")
  bars = axes.barh(places, widths["after"], color="steelblue", label="shrunk")
  step = -(-len(names) // NAMES)
  axes.set_yticks(places[::step], names[::step], fontsize="medium" if step == 1 else 7)
  if step == 1:
    pairs = zip(widths["after"], widths["before"], strict=True)
    axes.bar_label(bars, [f" {new:,} of {old:,}" for new, old in pairs])
  axes.set_xscale("log")
  axes.set_xlim(1, max(widths["before"]) * 10)
  axes.legend(loc="lower right")


def _accuracies(
  axes: Axes, records: list[dict[str, Any]], results: dict[str, Any]
) -> None:
  title = f"pruned {results['pruned_accuracy']:.2f} %"
  # Trained from scratch, a network is no base before its first epoch.
  base = results["base_accuracy"]
  if any(r["total_epochs"] for r in records if r["phase"] == "base"):
    axes.set_title(f"Accuracy: base {base:.2f} %, {title}")
    axes.axhline(base, color="grey", linewidth=0.8, linestyle=":")
  else:
    axes.set_title(f"Accuracy: {title}")
  axes.set_xlabel("epoch")
  axes.set_ylabel("%")
  epochs = [record["total_epochs"] for record in records]
  pruned = [record["pruned_accuracy"] for record in records]
  axes.plot(epochs, [record["accuracy"] for record in records], label="accuracy")
  axes.plot(epochs, pruned, color="crimson", label="if pruned now")
  _mark_gsm(axes, records)
  axes.legend(loc="lower right")


def _mark_gsm(axes: Axes, records: list[dict[str, Any]]) -> None:
  begin = max(r["total_epochs"] for r in records if r["phase"] == "base")
  axes.axvline(begin, color="black", linewidth=0.8)
  axes.annotate(
    " GSM begins",
    (begin, 0.5),
    xycoords=axes.get_xaxis_transform(),
    rotation=90,
    va="center",
    fontsize=8,
  )
