"""The benchmarks refuse what they cannot measure, before anything is overwritten."""

import sys

import pytest

from experiments.benchmarks import selection, step


@pytest.mark.parametrize(
  ("benchmark", "flags", "message"),
  [
    (step, ["--repeats", "0"], "--repeats must not be"),
    (step, ["--steps", "0"], "--steps and"),
    (step, ["--seconds", "-1"], "--seconds must be above 0, not -1"),
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
