"""Writes the tables of the README and the docs, as ``experiments/results/`` has them.

python -m experiments.tables
"""

import json
import re
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from experiments.benchmarks.accelerator_table import (
  exactness_sentence,
  gpu_table,
  step_sentence,
)
from experiments.benchmarks.compiled_table import compiled_table
from experiments.pages.benchmark_tables import (
  deploy_bytes_table,
  deploy_times_table,
  deploy_words,
  input_table,
  selection_table,
  shrink_time_table,
  step_table,
  structure_step_table,
  unit_scores_table,
)
from experiments.pages.readme_tables import readme_results, readme_speed
from experiments.pages.run_tables import (
  results_table,
  runs_by_preset,
  smoothing_table,
  vanishing_table,
)
from experiments.studies import studies
from experiments.studies.results import RESULTS

ROOT = Path(__file__).parents[2]


def tables() -> dict[str, str]:
  """Every table, by the name in its marks."""
  step, deep, units, images, selection, compiled = (
    json.loads((RESULTS / name / f"{file}.json").read_text())
    for name, file in (
      *(("step", "step"), ("step-deep", "step"), ("structure-step", "step")),
      *(("input", "input"), ("selection", "selection"), ("compiled", "compiled")),
    )
  )
  shrinking = json.loads((RESULTS / "shrink-time" / "shrink.json").read_text())
  deploy = json.loads((RESULTS / "deploy" / "deploy.json").read_text())
  scores = [
    json.loads((RESULTS / "unit-scores" / f"{name}.json").read_text())
    for name in ("digits", "cifar10")
  ]
  gpu, graphs, gpu_deep, graphs_deep, exactness = (
    json.loads((RESULTS / name / "gpu.json").read_text())
    for name in (
      *("gpu", "gpu-graphs", "gpu-resnet56", "gpu-resnet56-graphs"),
      "gpu-exactness",
    )
  )
  result = {
    "results": results_table(runs_by_preset()),
    "step": step_table(step),
    "step-deep": step_table(deep),
    "structure-step": structure_step_table(units),
    "input": input_table(images),
    "selection": selection_table(selection),
    "shrink-time": shrink_time_table(shrinking),
    "deploy-bytes": deploy_bytes_table(deploy),
    "deploy-times": deploy_times_table(deploy),
    "deploy-words": deploy_words(deploy),
    "unit-scores": unit_scores_table(scores),
    "gpu": gpu_table(gpu),
    "gpu-graphs": gpu_table(graphs),
    "gpu-step": step_sentence(gpu, graphs),
    "gpu-step-deep": step_sentence(gpu_deep, graphs_deep, sorts=False),
    "gpu-exactness": exactness_sentence(exactness),
    "compiled": compiled_table(compiled),
    "readme-results": readme_results(),
    "readme-speed": readme_speed(),
    "vanishing": vanishing_table(),
    "smoothing": smoothing_table(runs_by_preset(RESULTS / "smoothing")),
  }
  for name, study in studies().items():
    result |= study.tables(RESULTS / name)
  return result


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
  readmes = [ROOT / "README.md", ROOT / "experiments" / "studies" / "README.md"]
  docs = sorted((ROOT / "docs").glob("*.md"))
  return {
    **{page: with_tables(page.read_text(), all_tables) for page in readmes},
    **{page: with_tables(page.read_text(), for_docs) for page in docs},
  }


def main(arguments: Sequence[str] | None = None) -> None:
  """Rewrites the pages."""
  ArgumentParser(prog="python -m experiments.tables", description=__doc__).parse_args(
    arguments
  )
  for path, page in pages().items():
    path.write_text(page)
