"""The picture of `experiments.benchmarks.selection`."""

from typing import Any

from matplotlib.figure import Figure


def selection_figure(results: dict[str, Any]) -> Figure:
  """Time of each way to select against the number of weights, on log axes.

  Args:
    results: the ``selection.json`` of `experiments.benchmarks.selection`.
  """
  figure = Figure(figsize=(8, 5.5), layout="constrained")
  axes = figure.subplots()
  first = results["rows"][0]
  rows = [
    row
    for row in results["rows"]
    if (row["density"], row["dtype"]) == (first["density"], first["dtype"])
  ]
  rows.sort(key=lambda row: row["weights"])
  for name in max((row["seconds"] for row in rows), key=len):
    measured = [row for row in rows if name in row["seconds"]]
    ours = name == "keep_top_saliency"
    axes.plot(
      [row["weights"] for row in measured],
      [1e3 * row["seconds"][name] for row in measured],
      label="memory floor: one pass" if name == "pass" else name,
      marker=None if name == "pass" else "o",
      linestyle="--" if name == "pass" else ":" if name.startswith("…") else "-",
      color="black" if name == "pass" else "crimson" if ours else None,
      linewidth=2.5 if ours else 1.2,
    )
  axes.set_xscale("log")
  axes.set_yscale("log")
  axes.set_xlabel("prunable weights")
  axes.set_ylabel("milliseconds")
  axes.set_title(
    f"Zeroing the gradients below the top {100 * first['density']:.3g} % saliency,"
    f" {first['dtype']}, {results['device']['kind']}"
  )
  axes.grid(alpha=0.3)
  axes.legend()
  return figure
