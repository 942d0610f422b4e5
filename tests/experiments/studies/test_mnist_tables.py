"""The tables of the paper's results say what is in the committed files."""

import pytest

from experiments.paper import (
  FAR_LENET5,
  FAR_LENET300,
  RECIPES,
  mnist_entries,
  recipe_entries,
)
from experiments.paper_tables import (
  FAR_LABELS,
  MISSING,
  RECIPE_LABELS,
  paper_tables,
  read,
)
from tests.experiments.committed import write_results


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("results")
  write_results(folder / "mnist")
  return folder


def rows(table):
  """The cells of each row, without the heading."""
  lines = table.splitlines()
  assert len({line.count(" | ") for line in lines if "---" not in line}) == 1
  return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_means_and_spreads_are_over_the_seeds(folder):
  first = rows(paper_tables(folder)["paper-pruned"])[0]
  assert first == [
    *("LeNet-300-100", "60×"),
    "[`lenet300-60x`](experiments/results/mnist/lenet300-60x-0/results.json)",
    "98.19 → 98.18",
    *("98.20 → **97.20**", "97.00 … 97.40", "5", "4", "2.0", "1,000"),
  ]


def test_tickets_stand_beside_their_controls_and_the_papers(folder):
  table = rows(paper_tables(folder)["paper-tickets"])
  assert table[0] == [
    *("LeNet-300-100, 60×", "gsm", "98.22", "**97.10**", "97.00 … 97.20"),
    *("60.00", "40.00", "3, 0.5 min"),
  ]
  assert [row[1] for row in table[:3]] == ["gsm", "magnitude", "random"]


def test_the_other_tables(folder):
  tables = paper_tables(folder)
  assert rows(tables["paper-compression"])[3] == [
    *("100×", "**97.00**", "50.00", "97.00", "50.00", "97.00"),
  ]
  assert rows(tables["paper-layers"])[0] == [
    *("LeNet-300-100, 60×, dense1", "1,000", "10 (1.00%)", "10 (1.00%)"),
  ]
  betas = rows(tables["paper-momentum"])
  assert [row[0] for row in betas] == ["0.9", "0.95", "0.98", "0.99"]
  assert betas[0][1:] == ["40.00%", "40.00%", "97.50", "97.00"]


def test_active_shares_stand_beside_what_stays_alive(tmp_path):
  entries = [entry for entry in recipe_entries() if "share" in entry.name]
  write_results(tmp_path / "recipes", entries)
  first, *_, last = rows(paper_tables(tmp_path)["far"])
  assert first == [
    *("`150x-share-1`", "LeNet-300-100, 150×, active share 1"),
    *("30", "60", "97.50", "**97.10**", "3"),
  ]
  assert last[0] == "`500x-120-epochs`"
  assert last[2] == MISSING


def test_what_has_not_been_run_is_said_to_be_missing(tmp_path):
  for name, table in paper_tables(tmp_path).items():
    cells = [cell for row in rows(table) for cell in row]
    assert not any("**" in cell for cell in cells), name
    if name != "paper-layers":
      assert MISSING in cells
  one = [entry for entry in mnist_entries() if entry.name == "lenet300-60x-3"]
  write_results(tmp_path / "mnist", one)
  assert list(read(tmp_path / "mnist")) == ["lenet300-60x-3"]
  first, second, *_ = rows(paper_tables(tmp_path)["paper-pruned"])
  assert first[4:7] == ["98.30 → **97.30**", "", "1"]
  assert second[4] == MISSING


def test_every_variant_of_the_recipe_has_a_row():
  assert RECIPE_LABELS.keys() == RECIPES.keys()
  assert FAR_LABELS.keys() == FAR_LENET300.keys() | FAR_LENET5.keys()
  names = {entry.name for entry in recipe_entries()}
  assert {f"{name}-0" for name in RECIPE_LABELS | FAR_LABELS} <= names
