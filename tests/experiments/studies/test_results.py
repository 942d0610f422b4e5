"""Results are read whatever version wrote them, and their statistics are NumPy's."""

import numpy as np
import pytest

from experiments.configs import recipes
from experiments.configs.recipe import describe, flatten
from experiments.studies.results import (
  RESULTS,
  SINCE_NESTED,
  mean,
  number,
  number_alive,
  of_all_seeds,
  read,
  share_below,
  spread,
  standard_error,
)
from tests.experiments.studies.committed import FLAT, NESTED, record_of, write_results


@pytest.mark.parametrize("numbers", [[1.0, 4.0], [97.5, 98.25, 97.0], [1.0] * 4])
def test_statistics_are_those_of_numpy(numbers):
  runs = [{"accuracy": value} for value in numbers]
  assert mean(runs, "accuracy") == pytest.approx(np.mean(numbers))
  error = np.std(numbers, ddof=1) / np.sqrt(len(numbers))
  assert standard_error(runs, "accuracy") == f"{error:.2f}"
  assert spread(runs, "accuracy") == f"{min(numbers):.2f} … {max(numbers):.2f}"


def test_a_single_run_has_no_spread():
  assert standard_error([{"accuracy": 1.0}], "accuracy") == ""
  assert spread([{"accuracy": 1.0}], "accuracy") == ""


def test_numbers_are_found_under_both_their_names():
  numbers = ["batch_size", "density", "seed", "evaluate_every", *SINCE_NESTED]
  for name in numbers:
    nested, flat = (number({"config": config}, name) for config in (NESTED, FLAT))
    assert nested == flat, name
  assert number({"config": NESTED}, "gsm.schedule.after") == [2 / 3, 5 / 6]
  assert number({"config": FLAT}, "gsm.augmentation.0.most") is None


def test_every_number_that_has_a_new_name_is_one_of_a_recipe():
  assert SINCE_NESTED.keys() <= flatten(describe(recipes()["lenet300-mnist"])).keys()
  assert set(SINCE_NESTED.values()) <= FLAT.keys()


def test_the_committed_results_have_the_numbers_that_tables_ask_for():
  committed = read(RESULTS / "mnist")
  assert committed
  for name, result in committed.items():
    if name.startswith("lenet300-60x"):
      assert number(result, "gsm.epochs") == 240
      assert number(result, "gsm.optimizer.momentum") == 0.99


def test_the_runs_of_all_seeds_are_those_of_one_name():
  results = {name: {"name": name} for name in ("a-1", "a-0", "a-b-0", "ba-0", "a-x")}
  assert [run["name"] for run in of_all_seeds(results, "a")] == ["a-0", "a-1"]


def test_shares_and_numbers_of_weights_are_read_off_the_histogram(tmp_path):
  record = record_of("gsm", 4)
  assert share_below(record, -3) == 0.4
  assert share_below(record, 1) == 1

  class Entry:
    name, job = "run-0", "prune"
    recipe = recipes()["digits"]

  write_results(tmp_path, [Entry])
  assert number_alive(tmp_path / "run-0") == pytest.approx(60)
