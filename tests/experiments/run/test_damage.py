"""Damaged files and full disks: a sentence, or the same bits."""

import errno
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.run import recording
from experiments.run.checkpoints import Checkpoints, DamagedError
from experiments.run.errors import RunError
from tests.experiments.run.short_runs import bits, run

pytestmark = pytest.mark.usefixtures("compiled")


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


def test_damaged_notes_are_written_anew(whole, tmp_path):
  folder, expected, _ = whole
  shutil.copytree(folder, tmp_path / "run")
  for name in ("job.json", "results.json", "metrics.jsonl", "report.png"):
    DAMAGES["replaced"](tmp_path / "run" / name)
  run(tmp_path / "run", "--resume", "--quiet")
  assert bits(tmp_path / "run") == expected


def test_a_base_that_was_damaged_meanwhile_is_told_of(whole, tmp_path, capsys):
  shutil.copytree(whole[0], tmp_path / "run")
  shutil.rmtree(tmp_path / "run/base")
  run(tmp_path / "run", "--resume")
  assert re.search("base is damaged .*no other can begin", capsys.readouterr().out)


@pytest.mark.parametrize("window", ["checkpoints", "base", "results.json"])
def test_a_full_disk_is_one_sentence(window, whole, tmp_path, monkeypatch):
  replace = os.replace

  def full(source, target):
    if window in str(target).removeprefix(str(tmp_path)):
      raise OSError(errno.ENOSPC, "No space left on device", str(source))
    replace(source, target)

  monkeypatch.setattr(os, "replace", full)
  with pytest.raises(SystemExit, match=r"No space left on device.*free some space"):
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
