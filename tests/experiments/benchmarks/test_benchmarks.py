"""The benchmarks measure on several devices, and refuse what they cannot measure."""

import json
import subprocess
import sys

import pytest

from experiments.benchmarks import passes, selection, step, structure_step


def test_leaves_are_split_over_devices(tmp_path):
  flags = ["--models", "lenet300", "--devices", "2", "--seconds", "0.001"]
  command = [sys.executable, "-m", "experiments.benchmarks.selection", *flags]
  command += ["--out", str(tmp_path)]
  result = subprocess.run(command, capture_output=True, text=True)
  assert result.returncode == 0, result.stderr[-2000:]
  (row,) = json.loads((tmp_path / "selection.json").read_text())["rows"]
  assert row["devices"] == 2
  assert {"pass", "keep_top_saliency", "lax.top_k"} <= row["seconds"].keys()
  assert (tmp_path / "selection.png").exists()


def test_structures_are_measured_beside_single_weights(tmp_path, monkeypatch):
  flags = ["--models", "lenet300", "--seconds", "0.001", "--repeats", "1"]
  command = ["benchmark", *flags, "--steps", "1", "--out", str(tmp_path)]
  monkeypatch.setattr(sys, "argv", command)
  structure_step.main()
  (row,) = json.loads((tmp_path / "step.json").read_text())["rows"]
  names = ["SGD", "single weights", "channels", "blocks((4, 1))", "n_of_m(2, 4)"]
  assert list(row["seconds"]) == names
  assert row["ratio_to_sgd"]["SGD"] == 1


@pytest.mark.parametrize(
  ("benchmark", "flags", "message"),
  [
    (passes, ["--devices", "0"], "--devices must be at least 1"),
    (passes, ["--devices", "7"], "batches cannot be split"),
    (step, ["--repeats", "0"], "--repeats must not be"),
    (step, ["--steps", "0"], "--steps and"),
    (step, ["--seconds", "-1"], "above 0 and finite, not -1"),
    (step, ["--seconds", "inf"], "above 0 and finite, not inf"),
    (structure_step, ["--models", "abc"], "not {'abc'}"),
    (structure_step, ["--density", "nan"], "--density must be"),
    (structure_step, ["--seconds", "inf"], "above 0 and finite, not inf"),
    (selection, ["--models"], "--models, "),
    (selection, ["--models", "abc"], "no model 'abc'"),
    (selection, ["--models", "-5"], "no model '-5'"),
    (selection, ["--models", "nan"], "no model 'nan'"),
    (selection, ["--densities", "2"], "--densities must be"),
    (selection, ["--zeros", "2"], "--zeros must be"),
    (selection, ["--seconds", "nan"], "--seconds must be"),
    (selection, ["--devices", "0"], "--devices must be"),
    (selection, ["--devices", "3"], "layers of lenet300 cannot be split"),
  ],
)
def test_nonsense_is_refused(benchmark, flags, message, tmp_path, monkeypatch):
  command = ["benchmark", *flags, "--out", str(tmp_path / "out")]
  monkeypatch.setattr(sys, "argv", command)
  with pytest.raises(SystemExit, match=message):
    benchmark.main()
  assert not (tmp_path / "out").exists()
