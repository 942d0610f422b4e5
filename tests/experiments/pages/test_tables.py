"""What the README and the docs say is what the committed results say."""

import json
import re

from experiments.pages.run_tables import (
  results_table,
  runs_by_preset,
  vanishing_table,
)
from experiments.pages.tables import ROOT, marks, pages, with_tables, without_links
from experiments.studies.results import RESULTS


def test_the_tables_are_made_from_the_committed_results():
  for path, page in pages().items():
    assert path.read_text() == page, path


def test_the_readme_and_the_docs_have_the_tables_of_the_results():
  wanted = {
    "README.md": ("shrunk-digits", "readme-results", "readme-speed"),
    "docs/results.md": ("results", "step", "selection"),
    "experiments/studies/README.md": ("language-trials",),
    "docs/deploy.md": ("deploy-bytes", "deploy-times", "deploy-words"),
  }
  for path, names in wanted.items():
    page = (ROOT / path).read_text()
    for name in names:
      assert all(page.count(mark) == 1 for mark in marks(name)), (path, name)


def test_the_docs_have_the_table_of_what_xla_compiles():
  page = (ROOT / "docs/results.md").read_text()
  assert all(page.count(mark) == 1 for mark in marks("compiled"))


def test_a_page_keeps_what_it_has_no_table_for():
  begin, end = marks("a")
  page = f"before {begin} old {end} after {marks('b')[0]} kept"
  filled = f"before {begin}\n\nnew\n\n{end} after {marks('b')[0]} kept"
  assert with_tables(page, {"a": "new", "c": "nowhere"}) == filled


def test_links_to_the_repository_become_text():
  assert without_links("| [`a`](b/c.json) | [x] (y) |") == "| `a` | [x] (y) |"


def test_a_passive_weight_shrinks_in_the_steps_that_the_formula_says():
  rows = [re.findall(r"[\d.,]+", line) for line in vanishing_table().splitlines()[2:]]
  # ln(1000) (1 - β) / (α η), and up to a quarter fewer where the momentum is high.
  assert [row[:2] for row in rows] == [
    ["0.9", "46,052"],
    ["0.95", "23,026"],
    ["0.98", "9,210"],
    ["0.99", "4,605"],
  ]
  for _, formula, iterated in rows:
    ratio = int(iterated.replace(",", "")) / int(formula.replace(",", ""))
    assert 0.75 < ratio <= 1.01


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
  paths = list(RESULTS.rglob("*.json"))
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
