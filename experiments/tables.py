"""Writes the README's table of results from the committed files.

    python -m experiments.tables

Each row is one preset: the mean over the seeds under ``experiments/results/``, with the
command that makes them again.
"""

import json
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
BEGIN, END = "<!-- results: python -m experiments.tables -->", "<!-- end of results -->"


def runs_by_preset(folder: Path = RESULTS) -> dict[str, list[dict[str, Any]]]:
  """The committed runs of each preset, by seed."""
  runs: dict[str, list[dict[str, Any]]] = {}
  for path in sorted(folder.glob("*/results.json")):
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


def with_table(readme: str, table: str) -> str:
  """The README with the table between its two marks."""
  before, rest = readme.split(BEGIN)
  _, after = rest.split(END)
  return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def main() -> None:
  """Rewrites the README."""
  readme = ROOT / "README.md"
  readme.write_text(with_table(readme.read_text(), results_table(runs_by_preset())))


if __name__ == "__main__":
  main()
