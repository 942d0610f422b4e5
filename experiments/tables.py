"""Writes the tables of the README and the docs, as ``experiments/results/`` has them.

python -m experiments.tables
"""

import json
import math
import re
import statistics
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.accelerator_table import gpu_table, step_sentence
from experiments.benchmarks.compiled_table import compiled_table
from experiments.paper_tables import paper_tables

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"


def runs_by_preset(
  folder: Path = RESULTS, pattern: str = "*"
) -> dict[str, list[dict[str, Any]]]:
  """The committed runs of each preset, by seed."""
  runs: dict[str, list[dict[str, Any]]] = {}
  for path in sorted(folder.glob(f"{pattern}/results.json")):
    result = json.loads(path.read_text())
    runs.setdefault(result["preset"], []).append(result)
  return {
    preset: sorted(results, key=lambda result: result["seed"])
    for preset, results in runs.items()
  }


def results_table(runs: dict[str, list[dict[str, Any]]]) -> str:
  """A Markdown table with one row for each preset."""
  lines = [
    "| preset | compression | base | pruned | seeds | minutes each | device |",
    "|---|---|---|---|---|---|---|",
  ]
  for preset, results in runs.items():
    first = results[0]

    def mean(key: str, results: list[dict[str, Any]] = results) -> str:
      return f"{statistics.mean(result[key] for result in results):.2f} %"

    minutes = statistics.mean(r["wall_seconds"]["total"] for r in results) / 60
    seeds = ", ".join(str(result["seed"]) for result in results)
    device = first["device"]
    lines.append(
      f"| [`{preset}`](experiments/results/{preset}-{first['seed']}/results.json)"
      f" | {first['compression_ratio']:.0f}× | {mean('base_accuracy')}"
      f" | **{mean('pruned_accuracy')}** | {seeds} | {minutes:.1f}"
      f" | {device['kind']}, {device['cpu_cores']} cores |"
    )
  return "\n".join(lines)


def step_table(results: dict[str, Any]) -> str:
  """A Markdown table of ``step.json``: whole training steps, as ratios to SGD's."""
  lines = [
    "| model, batch | SGD | SGD that waits for all gradients"
    " | SGD with `optax.clip_by_global_norm` | `gsm_optax.gsm` | GSM by `lax.top_k`"
    " | PyTorch: GSM by `torch.topk` over its SGD |",
    "|---|---|---|---|---|---|---|",
  ]
  for row in results["rows"]:
    ratios = row["ratio_to_sgd"]
    torch = ratios.get("PyTorch GSM by torch.topk")
    lines.append(
      f"| {row['model']}, {row['batch_size']} | {1e3 * row['seconds']['SGD']:.1f} ms"
      f" | {ratios['SGD that waits for all gradients']:.2f} ×"
      f" | {ratios['SGD with clip_by_global_norm']:.2f} ×"
      f" | **{ratios['gsm_optax.gsm']:.2f} ×** | {ratios['GSM by lax.top_k']:.1f} ×"
      f" | {'' if torch is None else f'{torch:.1f} ×'} |"
    )
  return "\n".join(lines)


def selection_table(results: dict[str, Any]) -> str:
  """A Markdown table of ``selection.json``: the update alone, in passes."""
  others = ["lax.top_k", "jnp.sort", "np.partition", "torch.topk", "torch.kthvalue"]
  names = ["keep_top_saliency", "… cold start", *others]
  lines = [
    f"| weights | one pass | {' | '.join(names)} |",
    f"|---|---|{'---|' * len(names)}",
  ]
  for row in sorted(results["rows"], key=lambda row: row["weights"]):
    cells = [
      f"{row['passes'][name]:.1f}" if name in row["passes"] else "" for name in names
    ]
    lines.append(
      f"| {row['weights']:,} | {1e3 * row['seconds']['pass']:.2f} ms"
      f" | {' | '.join(cells)} |"
    )
  return "\n".join(lines)


def vanishing_table(learning_rate: float = 3e-2, weight_decay: float = 5e-4) -> str:
  """A Markdown table of how many steps a passive weight takes to shrink a thousandfold.

  Arithmetic, and no measurement; the defaults are the paper's for MNIST.
  """
  lines = [
    f"| momentum | steps, α = {learning_rate:g}, η = {weight_decay:g} | iterated |",
    "|---|---|---|",
  ]
  for momentum in (0.9, 0.95, 0.98, 0.99):
    rate = learning_rate * weight_decay / (1 - momentum)
    weight, velocity, steps = 1.0, 0.0, 0
    while weight > 1e-3:
      velocity = momentum * velocity + weight_decay * weight
      weight -= learning_rate * velocity
      steps += 1
    lines.append(f"| {momentum:g} | {math.log(1e3) / rate:,.0f} | {steps:,} |")
  return "\n".join(lines)


def smoothing_table(runs: dict[str, list[dict[str, Any]]]) -> str:
  """A Markdown table of the runs with smoothing, and the same without."""
  lines = [
    "| preset | smoothing | seed | base | after GSM | pruned | compression |",
    "|---|---|---|---|---|---|---|",
  ]
  for preset, smoothed in runs.items():
    seeds = {result["seed"] for result in smoothed}
    mnist = runs_by_preset(RESULTS / "mnist", "lenet300-60x-*").get(preset, [])
    plain = [run for run in mnist if run["seed"] in seeds]
    by_smoothing = sorted(smoothed, key=lambda result: result["config"]["smoothing"])
    for result in [*plain, *by_smoothing]:
      smoothing = result["config"].get("smoothing")
      lines.append(
        f"| `{preset}` | {'none' if smoothing is None else smoothing}"
        f" | {result['seed']} | {result['base_accuracy']:.2f} %"
        f" | {result['gsm_accuracy']:.2f} % | **{result['pruned_accuracy']:.2f} %**"
        f" | {result['compression_ratio']:.0f}× |"
      )
  return "\n".join(lines)


def tables() -> dict[str, str]:
  """Every table, by the name in its marks."""
  step = json.loads((RESULTS / "step" / "step.json").read_text())
  selection = json.loads((RESULTS / "selection" / "selection.json").read_text())
  gpu = json.loads((RESULTS / "gpu" / "gpu.json").read_text())
  graphs = json.loads((RESULTS / "gpu-graphs" / "gpu.json").read_text())
  compiled = json.loads((RESULTS / "compiled" / "compiled.json").read_text())
  return {
    "results": results_table(runs_by_preset()),
    "step": step_table(step),
    "selection": selection_table(selection),
    "gpu": gpu_table(gpu),
    "gpu-graphs": gpu_table(graphs),
    "gpu-step": step_sentence(gpu, graphs),
    "compiled": compiled_table(compiled),
    "vanishing": vanishing_table(),
    "smoothing": smoothing_table(runs_by_preset(RESULTS / "smoothing")),
    **paper_tables(RESULTS),
  }


def without_links(table: str) -> str:
  """The table for a page from which the files of the repository cannot be reached."""
  return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", table)


def marks(name: str) -> tuple[str, str]:
  """What stands before and after a table."""
  return f"<!-- {name}: python -m experiments.tables -->", f"<!-- end {name} -->"


def with_tables(page: str, tables: dict[str, str]) -> str:
  """The page with each table whose marks it has between the two."""
  for name, table in tables.items():
    begin, end = marks(name)
    if begin in page:
      before, rest = page.split(begin)
      _, after = rest.split(end)
      page = f"{before}{begin}\n\n{table}\n\n{end}{after}"
  return page


def pages() -> dict[Path, str]:
  """The README and the docs' pages, with the tables as the results have them now."""
  all_tables = tables()
  for_docs = {name: without_links(table) for name, table in all_tables.items()}
  readme, docs = ROOT / "README.md", sorted((ROOT / "docs").glob("*.md"))
  return {
    readme: with_tables(readme.read_text(), all_tables),
    **{page: with_tables(page.read_text(), for_docs) for page in docs},
  }


def main(arguments: Sequence[str] | None = None) -> None:
  """Rewrites the pages."""
  ArgumentParser(prog="python -m experiments.tables", description=__doc__).parse_args(
    arguments
  )
  for path, page in pages().items():
    path.write_text(page)


if __name__ == "__main__":
  main()
