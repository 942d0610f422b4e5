"""The tables of the studies say what is in the committed files."""

import pytest

from experiments.markdown import MISSING
from experiments.studies import cifar10, recipes, studies
from experiments.studies.mnist.tables import tables
from experiments.studies.results import read
from tests.experiments.studies.committed import CONFIGS, write_results


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp("results")
  write_results(folder, config=CONFIGS[request.param])
  return folder


def rows(table):
  """The cells of each row, without the heading."""
  lines = table.splitlines()
  assert len({line.count(" | ") for line in lines if "---" not in line}) == 1
  return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_means_and_spreads_are_over_the_seeds(folder):
  first = rows(tables(folder)["paper-pruned"])[0]
  assert first == [
    *("LeNet-300-100", "60×"),
    "[`lenet300-60x`](experiments/results/mnist/lenet300-60x-0/results.json)",
    "98.19 → 98.18",
    *("98.20 → **97.20**", "97.00 … 97.40", "5", "4", "2.0", "1,000"),
  ]


def test_tickets_stand_beside_their_controls_and_the_papers(folder):
  table = rows(tables(folder)["paper-tickets"])
  assert table[0] == [
    *("LeNet-300-100, 60×", "gsm", "98.22", "**97.10**", "97.00 … 97.20"),
    *("60.00", "40.00", "3, 0.5 min"),
  ]
  assert [row[1] for row in table[:3]] == ["gsm", "magnitude", "random"]


def test_the_other_tables(folder):
  found = tables(folder)
  assert rows(found["paper-compression"])[3] == [
    *("100×", "**97.00**", "50.00", "97.00", "50.00", "97.00"),
  ]
  assert rows(found["paper-layers"])[0] == [
    *("LeNet-300-100, 60×, dense1", "1,000", "10 (1.00%)", "10 (1.00%)"),
  ]
  betas = rows(found["paper-momentum"])
  assert [row[0] for row in betas] == ["0.9", "0.95", "0.98", "0.99"]
  assert betas[0][1:] == ["40.00%", "40.00%", "97.50", "97.00"]


def test_active_shares_stand_beside_what_stays_alive(tmp_path):
  entries = [entry for entry in studies()["recipes"].entries if "share" in entry.name]
  write_results(tmp_path, entries)
  first, *_, last = rows(recipes.tables(tmp_path)["far"])
  assert first == [
    *("`150x-share-1`", "LeNet-300-100, 150×, active share 1"),
    *("30", "60", "97.50", "**97.10**", "3"),
  ]
  assert last[0] == "`500x-120-epochs`"
  assert last[2] == MISSING


def test_variants_stand_beside_their_base_model(tmp_path):
  entries = [entry for entry in studies()["recipes"].entries if "recipe" in entry.name]
  write_results(tmp_path, entries)
  first, second, *_ = rows(recipes.tables(tmp_path)["recipes"])
  assert first == [
    *("`recipe`", "`lenet300-fast`", "98.10", "97.50", "**97.10**", "3"),
  ]
  assert second[:3] == ["`no-shift`", "images not shifted", MISSING]


def test_what_has_not_been_run_is_said_to_be_missing(tmp_path):
  for study in (tables, recipes.tables, cifar10.tables):
    for name, table in study(tmp_path).items():
      cells = [cell for row in rows(table) for cell in row]
      assert not any("**" in cell for cell in cells), name
      if name != "paper-layers":
        assert MISSING in cells
  entries = studies()["mnist"].entries
  one = [entry for entry in entries if entry.name == "lenet300-60x-3"]
  write_results(tmp_path, one)
  assert list(read(tmp_path)) == ["lenet300-60x-3"]
  first, second, *_ = rows(tables(tmp_path)["paper-pruned"])
  assert first[4:7] == ["98.30 → **97.30**", "", "1"]
  assert second[4] == MISSING


def test_every_variant_of_a_recipe_has_a_row(tmp_path):
  found = recipes.tables(tmp_path)
  for name, variants in (
    ("recipes", recipes.FAST),
    ("far", (*recipes.FAR_LENET300, *recipes.FAR_LENET5)),
  ):
    expected = [[f"`{variant.name}`", variant.label] for variant in variants]
    assert [row[:2] for row in rows(found[name])] == expected


def test_methods_on_cifar10_stand_beside_each_other_and_dense(tmp_path):
  entries = studies()["cifar10"].entries
  write_results(tmp_path, [e for e in entries if e.name not in ("gradual-2",)])
  found = {row[0]: row[1:] for row in rows(cifar10.tables(tmp_path)["cifar10"])}
  # Of 97.0, 97.1 and 97.2: 0.1 / √3. One shot has 97 thrice.
  assert found == {
    "dense": ["**97.10**", "0.06", "97.25", "", "3"],
    "GSM": ["**97.10**", "0.06", "97.25", "+0.00", "3"],
    # Beside dense of the same seeds.
    "gradual magnitude": ["**97.05**", "0.05", "97.25", "+0.00", "2"],
    "one shot, retrained": ["**97.00**", "0.00", "", "-0.10", "3"],
  }


def test_what_was_tried_on_held_out_images_has_a_row_each(tmp_path):
  entries = studies()["cifar10"].entries
  write_results(tmp_path, [entry for entry in entries if "try-gsm" in entry.name])
  found = rows(cifar10.tables(tmp_path)["cifar10-trials"])
  labels = [label for label, _ in cifar10.TRIALS.values()]
  assert [row[0] for row in found] == labels
  assert [row[1:] for row in found] == [["97.50", "97.00"]] * 3 + [[MISSING, ""]] * 3
