"""The picture of `experiments.benchmarks.compiled`."""

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from experiments.benchmarks.compiled_table import seconds_to_compile

_QUANTITIES: dict[str, Callable[[dict[str, Any]], float | None]] = {
  "kernels of an update": lambda program: program.get("kernels_of_an_update"),
  "seconds to compile": seconds_to_compile,
  "words accessed": lambda program: program.get("words_per_weight"),
}
_BARS = {
  "clip": ("SGD with clip_by_global_norm", "0.7"),
  "keep_top_saliency": ("keep_top_saliency alone", "tab:blue"),
  "gsm": ("gsm", "crimson"),
}


def compiled_figure(results: dict[str, Any]) -> Figure:
  """Kernels, seconds to compile and words, as ratios to SGD's.

  Args:
    results: the ``compiled.json`` of `experiments.benchmarks.compiled`.
  """
  rows = results["rows"]
  targets = list(dict.fromkeys(row["target"] for row in rows))
  figure = Figure(figsize=(13, 0.6 + 2.7 * len(targets)), layout="constrained")
  grid = figure.subplots(len(targets), len(_QUANTITIES), squeeze=False)
  for target, line in zip(targets, grid, strict=True):
    measured = [row for row in rows if row["target"] == target]
    for (title, quantity), axes in zip(_QUANTITIES.items(), line, strict=True):
      axes.set_title(f"{target}: {title}")
      _draw(axes, measured, quantity)
  handles, labels = grid[0][1].get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside lower center", ncols=len(_BARS))
  figure.suptitle("An update, as a ratio to SGD with momentum")
  return figure


def _draw(axes: Any, rows: list[dict[str, Any]], quantity: Any) -> None:
  width = 0.8 / len(_BARS)
  highest = 0.0
  for place, (name, (label, color)) in enumerate(_BARS.items()):
    for number, row in enumerate(rows):
      programs = row["programs"]
      ours, sgd = (quantity(programs.get(key, {})) for key in (name, "sgd"))
      if ours is None or not sgd:
        continue
      ratio = ours / sgd
      at = number + (place - 1) * width
      axes.bar(at, ratio, width, color=color, label=None if number else label)
      text = f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"
      axes.annotate(text, (at, ratio), ha="center", va="bottom", fontsize=8)
      highest = max(highest, ratio)
  if not highest:
    axes.text(0.5, 0.5, "not known", ha="center", transform=axes.transAxes)
    axes.set_axis_off()
    return
  if highest > 10:
    axes.set_yscale("log")
  axes.axhline(1, color="black", linewidth=0.8)
  axes.margins(y=0.15)
  axes.set_xticks(range(len(rows)), [row["network"].replace("-", "\n") for row in rows])
  axes.grid(axis="y", alpha=0.3)
