"""What the README says is what the committed results say."""

import json
import re

from experiments.tables import (
  RESULTS,
  ROOT,
  results_table,
  runs_by_preset,
  tables,
  with_tables,
)


def test_the_readmes_tables_are_made_from_the_committed_results():
  readme = (ROOT / "README.md").read_text()
  assert with_tables(readme, tables()) == readme


def test_pictures_and_links_in_the_readme_exist():
  readme = (ROOT / "README.md").read_text()
  targets = [t for t in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in t]
  assert targets
  for target in targets:
    assert (ROOT / target).exists(), target


def test_the_table_holds_the_means_over_the_seeds():
  run = {
    "preset": "p",
    "base_accuracy": 90.0,
    "pruned_accuracy": 80.0,
    "compression_ratio": 20.0,
    "wall_seconds": {"total": 60.0},
    "device": {"kind": "abacus", "cpu_cores": 2},
  }
  runs = {"p": [{**run, "seed": 0}, {**run, "seed": 1, "pruned_accuracy": 81.0}]}
  row = results_table(runs).splitlines()[-1]
  assert "| 20× | 90.00 % | **80.50 %** | 0, 1 | 1.0 | abacus, 2 cores |" in row


def test_every_committed_result_says_how_it_was_made():
  paths = list(RESULTS.glob("*/*.json"))
  assert paths
  for path in paths:
    result = json.loads(path.read_text())
    assert not result["git_commit"].endswith("-dirty"), path
    assert {"device", "versions", "config"} <= result.keys()


def test_on_digits_pruning_costs_less_than_a_point():
  runs = runs_by_preset()["digits"]
  assert [run["seed"] for run in runs] == [0, 1, 2]
  loss = [run["base_accuracy"] - run["pruned_accuracy"] for run in runs]
  assert sum(loss) / 3 <= 1
  assert all(run["wall_seconds"]["total"] <= 60 for run in runs)
