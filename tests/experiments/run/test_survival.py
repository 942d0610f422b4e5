"""Runs that are killed, interrupted or damaged, and what --resume makes of them."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.configs.digits import DIGITS
from experiments.configs.recipe import changed
from experiments.jobs import magnitude, prune, tickets
from experiments.jobs.command_line import Job
from experiments.run import driver, recording
from experiments.run.checkpoints import Checkpoints, DamagedError
from experiments.run.errors import RunError
from experiments.run.files import PARTIAL, check_seal, whole_name
from experiments.run.weights import load_weights

ROOT = Path(__file__).parents[3]
SHORT = ("--base.epochs", "1", "--gsm.epochs", "3", "--evaluate-every", "2")
WEIGHTS = ("base", "params", "pruned_params")


class KilledError(BaseException):
  """Goes through everything, like a kill."""


def run(folder, *flags, main=prune.main):
  main([*SHORT, "--out", str(folder), *flags])


def bits(folder):
  """All that a run gives but its times."""
  results = json.loads((folder / "results.json").read_text())
  for times in ("wall_seconds", "images_per_second", "git_commit"):
    results.pop(times, None)
  found = {"results": results, "metrics": (folder / "metrics.jsonl").read_text()}
  for name in WEIGHTS:
    leaves = load_weights(folder / name)
    found[name] = str(
      {key: array.tobytes().hex() for key, array in _flat(leaves).items()}
    )
  return found


def _flat(tree, prefix=""):
  if not isinstance(tree, dict):
    return {} if tree is None else {prefix: np.asarray(tree)}
  return {
    name: leaf
    for key, part in tree.items()
    for name, leaf in _flat(part, f"{prefix}/{key}").items()
  }


class Snapshots:
  """Copies a folder whenever a file in it is about to be changed.

  Each copy is what a kill at that moment leaves behind.
  """

  CHANGES = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}
  )

  def __init__(self):
    self._folder = self._into = None
    sys.addaudithook(self._hook)  # for good: there is no way to remove one

  def of(self, folder, into, call):
    """The copies of `folder` that are made during a call."""
    self._folder, self._into, self._copies = folder, into, {}
    try:
      call()
    finally:
      self._folder = None
    return self._copies

  def _hook(self, event, arguments):
    folder = self._folder
    if folder is None or event not in self.CHANGES or not folder.exists():
      return
    path = arguments[0]
    if not isinstance(path, str | os.PathLike) or str(folder) not in os.fspath(path):
      return
    self._folder = None
    copy = self._into / f"{len(self._copies):03}"
    # Another thread of Orbax may be quicker: then there is one more copy.
    with contextlib.suppress(shutil.Error):
      shutil.copytree(folder, copy)
    state = tuple(sorted(_anonymous(path, copy) for path in copy.rglob("*")))
    if state in self._copies:
      shutil.rmtree(copy)
    else:
      self._copies[state] = copy
    self._folder = folder


def _anonymous(path, folder):
  """A path without what is another in every run, and whether anything is in it."""
  name = re.sub("[0-9a-f]{32}|tfevents.*", "*", str(path.relative_to(folder)))
  return name, path.is_file() and path.stat().st_size > 0


pytestmark = pytest.mark.usefixtures("compiled")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, compiled):
  """A run's folder, its bits, and copies of it from all moments of the run."""
  assert compiled
  root = tmp_path_factory.mktemp("whole")
  copies = Snapshots().of(root / "run", root, lambda: run(root / "run"))
  return root / "run", bits(root / "run"), list(copies.values())


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
import os, sys
from experiments.jobs import prune
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
    assert f"stopped after {done} epochs: the same" in capsys.readouterr().out
  # Nothing is left to be stopped.
  run(tmp_path / "run", "--stop-after", "0", "--resume")
  assert bits(tmp_path / "run") == whole[1]


@pytest.mark.parametrize("seconds", ["-1", "nan"])
def test_a_deadline_that_is_no_time_is_refused(seconds, tmp_path):
  with pytest.raises(SystemExit, match="--stop-after must be 0 or more, not"):
    run(tmp_path, "--stop-after", seconds)


def test_a_damaged_checkpoint_is_passed_over(whole, tmp_path, capsys):
  folder, expected, _ = whole
  shutil.copytree(folder, tmp_path / "run")
  checkpoints = sorted((tmp_path / "run/checkpoints").iterdir(), key=lambda p: p.name)
  assert [path.name for path in checkpoints] == ["63", "84"]
  flip(max(checkpoints[1].rglob("arrays/**/d/*"), key=lambda path: path.stat().st_size))
  run(tmp_path / "run", "--resume")
  out = capsys.readouterr().out
  assert re.search("Checkpoint 84 of .* is damaged", out)
  assert "Continuing after 3 of 4 epochs." in out
  assert bits(tmp_path / "run") == expected


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 4
  path.write_bytes(content)


DAMAGES = {
  "removed": lambda path: path.unlink(),
  "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
  "flipped": flip,
  "replaced": lambda path: path.write_bytes(b"garbage"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_file_of_a_checkpoint_may_be_damaged(damage, tmp_path):
  arrays = {"a": np.arange(8.0), "b": {"c": np.ones(3, bool)}}
  saved = tmp_path / "saved"
  for step in (5, 10):
    Checkpoints(saved, print).save(step, arrays, {"step": step})
  files = [path for path in (saved / "10").rglob("*") if path.stat().st_size]
  files = [path.relative_to(saved) for path in files if path.is_file()]
  assert len(files) > 5
  for name in files:
    said = []
    folder = tmp_path / "damaged"
    shutil.copytree(saved, folder)
    DAMAGES[damage](folder / name)
    found = Checkpoints(folder, said.append).newest(lambda _: arrays)
    assert found is not None
    assert found[1] == {"step": 5}
    assert re.fullmatch("Checkpoint 10 of .* is damaged (.*).", *said)
    assert [path.name for path in folder.iterdir()] == ["5"]
    (folder / "5" / "seal.json").unlink()
    with pytest.raises(DamagedError, match="remove the run's folder to begin anew"):
      Checkpoints(folder, said.append).newest(lambda _: arrays)
    shutil.rmtree(folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_refused_by_other_runs(damage, whole, tmp_path):
  shutil.copytree(whole[0], tmp_path / "run")
  largest = max(
    (tmp_path / "run/base").rglob("*"), key=lambda path: path.stat().st_size
  )
  DAMAGES[damage](largest)
  with pytest.raises(
    SystemExit, match=r"base is damaged \(.*remove .* and run it agai"
  ):
    run(tmp_path / "other", "--base", str(tmp_path / "run"))


@pytest.mark.parametrize("name", ["job.json", "results.json", "metrics.jsonl"])
def test_damaged_notes_are_written_anew(name, whole, tmp_path):
  folder, expected, _ = whole
  shutil.copytree(folder, tmp_path / "run")
  DAMAGES["replaced"](tmp_path / "run" / name)
  run(tmp_path / "run", "--resume", "--quiet")
  assert bits(tmp_path / "run") == expected


def test_a_base_that_was_damaged_meanwhile_is_told_of(whole, tmp_path, capsys):
  shutil.copytree(whole[0], tmp_path / "run")
  shutil.rmtree(tmp_path / "run/base")
  run(tmp_path / "run", "--resume")
  assert re.search("base is damaged .*no other can begin", capsys.readouterr().out)


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
def test_jobs_of_several_runs_are_continued_too(job, tmp_path, monkeypatch):
  short = ("--quiet", "--gsm.epochs", "1")
  run(tmp_path / "whole", *short, main=job.main)
  save = Checkpoints.save
  calls = []

  def save_or_end(self, *arguments):
    calls.append(arguments[0])
    if len(calls) in (2, 4):
      raise KilledError
    save(self, *arguments)

  monkeypatch.setattr(Checkpoints, "save", save_or_end)
  for _ in range(2):
    with pytest.raises(KilledError):
      run(tmp_path / "run", *short, "--resume", main=job.main)
  run(tmp_path / "run", *short, "--resume", main=job.main)
  both = [
    {
      path.relative_to(tmp_path / name): path.read_text()
      for path in (tmp_path / name).rglob("metrics.jsonl")
    }
    for name in ("whole", "run")
  ]
  assert both[0] == both[1]
  results = [
    json.loads((tmp_path / name / "results.json").read_text())
    for name in ("whole", "run")
  ]
  for each in results:
    each.pop("wall_seconds")
    each.pop("images_per_second", None)
  assert results[0] == results[1]


@pytest.mark.parametrize("window", ["checkpoints", "base", "results.json"])
def test_a_full_disk_is_one_sentence(window, whole, tmp_path, monkeypatch):
  replace = os.replace

  def full(source, target):
    if window in str(target).removeprefix(str(tmp_path)):
      raise OSError(errno.ENOSPC, "No space left on device", str(source))
    replace(source, target)

  monkeypatch.setattr(os, "replace", full)
  with pytest.raises(SystemExit, match=r"No space left on device.*: free some space"):
    run(tmp_path / "run")
  monkeypatch.setattr(os, "replace", replace)
  run(tmp_path / "run", "--resume")
  assert bits(tmp_path / "run") == whole[1]


def test_a_disk_that_is_full_of_evaluations_is_one_sentence(tmp_path):
  metrics = recording.Metrics(tmp_path, [])
  metrics._file.close()
  with Path("/dev/full").open("a", buffering=1) as metrics._file:
    with pytest.raises(RunError, match=r"cannot be written \(No space left on"):
      metrics.add({"total_epochs": 1, "accuracy": 2.0})
    metrics.close()
