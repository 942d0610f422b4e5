"""Runs that are killed, interrupted or stopped, and what --resume makes of them."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.configs.digits import DIGITS
from experiments.configs.recipe import changed
from experiments.jobs import magnitude, prune, tickets
from experiments.jobs.command_line import Job
from experiments.run import driver
from experiments.run.checkpoints import Checkpoints
from experiments.run.files import PARTIAL, check_seal, whole_name
from tests.experiments.run.short_runs import SHORT, WEIGHTS, bits, run

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("compiled")


class KilledError(BaseException):
  """Goes through everything, like a kill."""


def sealed(folder):
  return [
    path
    for path in folder.rglob("*")
    if path.name in WEIGHTS or re.fullmatch("[0-9]+", path.name)
  ]


def test_a_kill_at_any_moment_leaves_a_run_that_resumes_to_the_same_bits(whole):
  _, expected, copies = whole
  states = {}
  assert len(copies) > 50
  for copy in copies:
    # What is there is whole; the rest has other names, and is removed.
    for path in copy.rglob("*"):
      if path.name == whole_name(path.name) and path.suffix == ".json":
        json.loads(path.read_text())
    parts = [path for path in sealed(copy) if PARTIAL not in str(path)]
    for part in parts:
      check_seal(part)
    state = tuple(sorted(path.relative_to(copy).as_posix() for path in parts))
    states[state] = copy
  assert len(states) >= 7
  for copy in states.values():
    run(copy, "--resume", "--quiet")
    assert bits(copy) == expected
    assert not [path for path in copy.rglob("*") if path.name != whole_name(path.name)]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_ended_within_a_checkpoint(end, whole, compiled, tmp_path):
  program = f"""
import os, signal, sys
from experiments.jobs import prune
# Ignored where the tests run in the background of a shell.
signal.signal(signal.SIGINT, signal.default_int_handler)
writes = []
def end(event, arguments):
  if event == "os.rename" and "checkpoints" in str(arguments[0]):
    writes.append(event)
    if len(writes) == 3:
      os.kill(os.getpid(), {int(end)})
sys.addaudithook(end)
prune.main(sys.argv[1:])
"""
  result = subprocess.run(
    [sys.executable, "-c", program, *SHORT, "--out", str(tmp_path / "run")],
    cwd=ROOT,
    env={**os.environ, **compiled},
    capture_output=True,
    text=True,
  )
  if end == signal.SIGINT:
    assert result.returncode == 130
    assert result.stderr == (
      "interrupted: the same command with --resume continues the run.\n"
    )
  else:
    assert result.returncode == -end
  run(tmp_path / "run", "--resume")
  assert bits(tmp_path / "run") == whole[1]


def test_what_a_deadline_stops_goes_on_to_the_same_bits(whole, tmp_path, capsys):
  for done in (1, 2, 3):
    run(tmp_path / "run", "--stop-after", "0", "--resume")
    assert f"stopped after epoch {done}: the same" in capsys.readouterr().out
  # Nothing is left to be stopped.
  run(tmp_path / "run", "--stop-after", "0", "--resume")
  assert bits(tmp_path / "run") == whole[1]


def test_a_deadline_does_not_wait_for_the_end_of_an_epoch(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(driver, "is_quick_in_a_loop", lambda *_: False)
  short = ["--base.epochs", "1", "--gsm.epochs", "0", "--batch-size", "449", "--quiet"]
  run(tmp_path / "whole", *short)
  for step in (1, 2):
    run(tmp_path / "run", *short, "--stop-after", "0", "--resume")
    assert f"stopped in epoch 1, after {step} steps" in capsys.readouterr().out
  run(tmp_path / "run", *short, "--resume")
  assert bits(tmp_path / "run") == bits(tmp_path / "whole")


@pytest.mark.parametrize("seconds", ["-1", "nan"])
def test_a_deadline_that_is_no_time_is_refused(seconds, tmp_path):
  with pytest.raises(SystemExit, match="--stop-after must be 0 or more, not"):
    run(tmp_path, "--stop-after", seconds)


def test_an_epoch_is_continued_where_it_was_interrupted(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(driver, "is_quick_in_a_loop", lambda *_: False)
  numbers = {"base.epochs": 1, "gsm.epochs": 1, "checkpoint_every": 8}
  recipe = changed(DIGITS, numbers)
  prune.run(Job("digits", recipe, out=tmp_path / "whole"))
  save = Checkpoints.save
  saved = []

  def save_and_end(self, step, arrays, description):
    save(self, step, arrays, description)
    saved.append(step)
    if step in (16, 29):
      raise KilledError

  monkeypatch.setattr(Checkpoints, "save", save_and_end)
  for _ in range(2):
    with pytest.raises(KilledError):
      prune.run(Job("digits", recipe, out=tmp_path / "run", resume=True))
  # The rest of an epoch is done step by step, also where whole epochs are one call.
  monkeypatch.setattr(driver, "is_quick_in_a_loop", lambda *_: True)
  monkeypatch.setattr(driver, "devices", lambda: "1 × another")
  prune.run(Job("digits", recipe, out=tmp_path / "run", resume=True))
  assert saved == [8, 16, 21, 29, 37, 42]
  assert bits(tmp_path / "run") == bits(tmp_path / "whole")
  assert re.search("It ran on .* and goes on on 1 × another", capsys.readouterr().out)


@pytest.mark.parametrize("job", [tickets, magnitude])
def test_jobs_of_several_runs_are_continued_too(job, whole, tmp_path, monkeypatch):
  flags = ["--quiet", "--resume", "--gsm.epochs", "1"]
  if job is magnitude:
    flags += ["--base", str(whole[0])]
  run(tmp_path / "whole", *flags, main=job.main)
  save = Checkpoints.save
  calls = []

  def save_or_end(self, *arguments):
    calls.append(arguments[0])
    if len(calls) == 2:
      raise KilledError
    save(self, *arguments)

  monkeypatch.setattr(Checkpoints, "save", save_or_end)
  with pytest.raises(KilledError):
    run(tmp_path / "run", *flags, main=job.main)
  run(tmp_path / "run", *flags, main=job.main)
  assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def outcome(folder):
  """The results without their times, and the metrics of all parts."""
  results = json.loads((folder / "results.json").read_text())
  for times in ("wall_seconds", "images_per_second"):
    results.pop(times, None)
  if results.get("shrunk"):
    del results["shrunk"]["seconds"]
    results["shrunk"].get("rounded", {}).pop("seconds", None)
  metrics = {
    path.relative_to(folder): path.read_text() for path in folder.rglob("metrics.jsonl")
  }
  return results, metrics
