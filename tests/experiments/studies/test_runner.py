"""The runs of the paper are planned, run where they are missing, and kept."""

import json
import shutil

import pytest

from experiments import paper
from experiments.jobs import parse
from experiments.paper import (
  GROUPS,
  JOBS,
  Entry,
  Paper,
  chosen,
  commands,
  is_finished,
  mnist_entries,
)


@pytest.mark.parametrize("group", GROUPS)
def test_every_entry_is_a_job_that_its_module_takes(group):
  entries = GROUPS[group]()
  by_name = {entry.name: entry for entry in entries}
  assert len(by_name) == len(entries)
  for entry in entries:
    job = parse(JOBS[entry.job][0], entry.job, "", commands(entry, Paper()))
    assert job.resume
    assert str(job.config.seed) == entry.name.split("-")[-1]
    # What is needed comes first, has the same seed, and is of the same model.
    for name in entry.needs:
      needed = by_name[name]
      assert list(by_name).index(name) < list(by_name).index(entry.name)
      other = parse(JOBS[needed.job][0], needed.job, "", commands(needed, Paper()))
      assert other.config.seed == job.config.seed
      assert other.config.model == job.config.model


def test_all_that_the_paper_reports_is_there():
  names = {entry.name for entry in mnist_entries()}
  for run in ("lenet300-60x", "lenet300-fast"):
    assert {f"{run}-{seed}" for seed in range(5)} <= names
  for seed in range(3):
    for run in ("lenet5-125x-fast", "lenet5-300x-fast"):
      assert f"{run}-{seed}" in names
      for method in ("gsm", "magnitude"):
        assert f"ticket-{run}-{method}-{seed}" in names


def test_names_and_patterns_choose():
  everything = mnist_entries()
  assert chosen(everything, []) == everything
  names = [entry.name for entry in chosen(everything, ["lenet5-125x-f*"])]
  assert names == [f"lenet5-125x-fast-{seed}" for seed in range(3)]
  with pytest.raises(SystemExit, match="no entry is called lenet6"):
    chosen(everything, ["lenet6"])


@pytest.fixture
def small(monkeypatch):
  """Three entries of seconds instead of hours."""
  short = ("--base-epochs", "2", "--gsm-epochs", "2")
  quiet = (*short, "--quiet")
  plan = [
    Entry("base-0", "prune", ("digits", *quiet, "--gsm-epochs", "0")),
    Entry("gsm-0", "prune", ("digits", *quiet), base="base-0"),
    Entry(
      "ticket-1",
      "tickets",
      ("digits", "--method", "gsm", *quiet),
      base="base-0",
      found="gsm-0",
    ),
  ]
  monkeypatch.setitem(GROUPS, "mnist", lambda: plan)


def test_what_is_missing_is_run_and_what_is_finished_is_not(small, tmp_path, capsys):
  del small
  runs, committed = tmp_path / "runs", tmp_path / "results"
  command = ["mnist", "--runs-dir", str(runs), "--results-dir", str(committed)]
  paper.main([*command, "--only", "ticket-1"])
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
  paper.main([*command, "--list"])
  listed = capsys.readouterr().out
  rows = [line.split("│") for line in listed.splitlines() if "│" in line]
  states = [row[3].strip() for row in rows]
  assert states == ["finished", "begun", "finished"]
  stamp = (committed / "ticket-1" / "results.json").stat().st_mtime_ns
  paper.main(command)
  assert (committed / "ticket-1" / "results.json").stat().st_mtime_ns == stamp
  assert is_finished(committed / "gsm-0")
  assert not (runs / "ticket-1").exists()

  # What is committed stays as it is, though the run must be made again.
  shutil.rmtree(runs / "base-0")
  shutil.rmtree(committed / "ticket-1")
  stamp = (committed / "base-0" / "results.json").stat().st_mtime_ns
  paper.main(command)
  assert is_finished(runs / "base-0")
  assert is_finished(committed / "ticket-1")
  assert (committed / "base-0" / "results.json").stat().st_mtime_ns == stamp


def test_only_needs_a_name(small, tmp_path):
  del small
  with pytest.raises(SystemExit, match="--only needs the name"):
    paper.main(["mnist", "--only", "--runs-dir", str(tmp_path)])
