"""Runs that prune whole units."""

import json

import pytest

from experiments.configs import recipes
from experiments.configs.recipe import describe
from experiments.jobs.magnitude import main as magnitude_main
from experiments.jobs.prune import main as prune_main
from experiments.run.weights import load_weights

SHORT = ["--base.epochs", "3", "--gsm.epochs", "6", "--evaluate-every", "3"]
SHORT += ["--gsm.optimizer.density-epochs", "2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "units"
  prune_main(["digits-units", *SHORT, "--quiet", "--out", str(folder)])
  return folder


def test_a_run_of_units_says_which_are_left(finished):
  results = json.loads((finished / "results.json").read_text())
  assert [each["size"] for each in results["units"]] == [300, 100]
  first, second = (each["kept"] for each in results["units"])
  assert first + second == 100
  left = 64 * first + first + first * second + second + second * 10 + 10
  assert results["totals"]["weights"] == [50_610, left]
  assert results["shrunk"]["weights"][1] <= left
  pruned = load_weights(finished / "pruned_params")
  assert (pruned["dense1"]["kernel"] != 0).any(0).sum() == first
  assert (pruned["dense1"]["bias"] != 0).sum() <= first
  norms = results["unit_norms"]
  assert norms["median_kept"] >= norms["least_kept"] >= norms["greatest_removed"] > 0


def test_what_is_measured_are_norms_of_units(finished):
  lines = (finished / "metrics.jsonl").read_text().splitlines()
  for line in map(json.loads, lines):
    assert sum(line["log10_magnitude"]["counts"]) == 400
    assert line["magnitude_at_q"] > line["magnitude_at_1.25q"]


def test_units_of_least_norm_are_one_way_to_prune_a_base_model(finished, tmp_path):
  out = tmp_path / "magnitude"
  magnitude_main(
    ["digits-units", *SHORT, "--quiet", "--base", str(finished), "--out", str(out)]
  )
  results = json.loads((out / "results.json").read_text())
  assert "uniform" not in results
  assert sum(each["kept"] for each in results["global"]["units"]) == 100


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--density", "0.001"], "of 400 units is less than one unit"),
    (["--structure.cost", "time"], "invalid choice"),
  ],
)
def test_bad_numbers_are_refused_before_training(flags, message, capsys, tmp_path):
  with pytest.raises(SystemExit) as error:
    prune_main(["digits-units", *SHORT, *flags, "--out", str(tmp_path / "run")])
  assert message in "".join((str(error.value), *capsys.readouterr()))


def test_recipes_of_single_weights_are_described_as_before():
  assert "structure" not in describe(recipes()["digits"])
  assert describe(recipes()["digits-units"])["structure"]["kind"] == "Channels"
