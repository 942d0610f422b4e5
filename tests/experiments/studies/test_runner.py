"""The runs of a study are run where they are missing, and kept."""

import json
import shutil

import pytest

from experiments.studies import runner, studies
from experiments.studies.runner import chosen, is_finished
from experiments.studies.study import Entry, Study


def test_names_and_patterns_choose():
  everything = studies()["mnist"].entries
  assert chosen(everything, []) == everything
  names = [entry.name for entry in chosen(everything, ["lenet5-125x-f*"])]
  assert names == [f"lenet5-125x-fast-{seed}" for seed in range(3)]
  with pytest.raises(SystemExit, match="no entry is called lenet6"):
    chosen(everything, ["lenet6"])


@pytest.fixture
def small(monkeypatch):
  """Three entries of seconds instead of hours."""
  short = {"base.epochs": 2, "gsm.epochs": 2}
  only_base = {**short, "gsm.epochs": 0}
  quiet = {"quiet": True}
  plan = [
    Entry("base-0", "digits", only_base, options=quiet),
    Entry("gsm-0", "digits", short, options=quiet, base="base-0"),
    Entry(
      *("ticket-1", "digits", short, "tickets"),
      options={**quiet, "method": "gsm"},
      base="base-0",
      found="gsm-0",
    ),
  ]
  small = {"mnist": Study(plan, lambda _: {})}
  monkeypatch.setattr(runner, "studies", lambda: small)


def test_what_is_missing_is_run_and_what_is_finished_is_not(small, tmp_path, capsys):
  del small
  runs, committed = tmp_path / "runs", tmp_path / "results"
  command = ["mnist", "--runs-dir", str(runs), "--results-dir", str(committed)]
  runner.main([*command, "--only", "ticket-1"])
  assert "after GSM" in capsys.readouterr().out
  # What it needed was run, and kept too.
  assert is_finished(runs / "base-0")
  assert is_finished(committed / "gsm-0")
  assert (committed / "gsm-0" / "report.png").exists()
  assert sorted(path.name for path in (committed / "ticket-1").iterdir()) == [
    "results.json",
    "ticket.npz",
  ]
  results = json.loads((committed / "ticket-1" / "results.json").read_text())
  assert results["method"] == "gsm"

  # Finished is what is committed, even where the run itself is gone.
  shutil.rmtree(runs / "ticket-1")
  shutil.rmtree(committed / "gsm-0")
  runner.main([*command, "--list"])
  listed = capsys.readouterr().out
  rows = [line.split("│") for line in listed.splitlines() if "│" in line]
  states = [row[3].strip() for row in rows]
  assert states == ["finished", "begun", "finished"]
  stamp = (committed / "ticket-1" / "results.json").stat().st_mtime_ns
  runner.main(command)
  assert (committed / "ticket-1" / "results.json").stat().st_mtime_ns == stamp
  assert is_finished(committed / "gsm-0")
  assert not (runs / "ticket-1").exists()

  # What is committed stays as it is, though the run must be made again.
  shutil.rmtree(runs / "base-0")
  shutil.rmtree(committed / "ticket-1")
  stamp = (committed / "base-0" / "results.json").stat().st_mtime_ns
  runner.main(command)
  assert is_finished(runs / "base-0")
  assert is_finished(committed / "ticket-1")
  assert (committed / "base-0" / "results.json").stat().st_mtime_ns == stamp


def test_only_needs_a_name(small, tmp_path):
  del small
  with pytest.raises(SystemExit, match="--only needs the name"):
    runner.main(["mnist", "--only", "--runs-dir", str(tmp_path)])
