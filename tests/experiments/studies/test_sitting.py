"""A study's runs, some minutes at a time, end as if they had not been interrupted."""

import json
import tarfile

import pytest

from experiments.studies import sitting
from experiments.studies.study import Entry, Study

NUMBERS = {"base.epochs": 1, "gsm.epochs": 4, "evaluate_every": 2}
STUDY = Study(
  [
    Entry("first-0", "digits", NUMBERS),
    Entry("second-0", "digits", {**NUMBERS, "seed": 1}),
  ],
  tables=lambda _: {},
)


@pytest.fixture(autouse=True)
def study(monkeypatch):
  monkeypatch.setattr(sitting, "studies", lambda: {"tried": STUDY})


def sit(out, *flags):
  sitting.main(["tried", "--out", str(out), "--least-epochs", "3", *flags])


def test_what_is_left_is_continued_to_the_same_bits(tmp_path, capsys):
  sit(tmp_path / "at-once", "--most-epochs", "3", "--only", "first-0")
  # The time is up before the first epoch is.
  sit(tmp_path / "begun", "--most-epochs", "3", "--minutes", "0.01")
  assert "goes on" in capsys.readouterr().out
  archive = tmp_path / "begun" / "runs.tar"
  assert sorted(path.name for path in archive.parent.iterdir()) == ["runs.tar"]
  with tarfile.open(archive) as tar:
    assert "first-0/job.json" in tar.getnames()

  # The number of epochs is the one that was chosen, whatever is asked for now.
  sit(tmp_path / "ended", "--most-epochs", "4", "--continues", str(archive))
  at_once, ended = (
    (tmp_path / folder / "first-0.jsonl").read_text() for folder in ("at-once", "ended")
  )
  assert ended == at_once
  results = json.loads((tmp_path / "ended" / "first-0.json").read_text())
  assert results["config"]["gsm"]["epochs"] == results["sitting"]["epochs"] == 3
  assert results["sitting"]["images_per_second"] > 0
  # The next one has begun anew, and with as many epochs as are asked for.
  second = json.loads((tmp_path / "ended" / "second-0.json").read_text())
  assert (second["seed"], second["config"]["gsm"]["epochs"]) == (1, 4)
  with tarfile.open(tmp_path / "ended" / "runs.tar") as tar:
    assert not [name for name in tar.getnames() if "checkpoints" in name]


def test_what_is_committed_is_left_out():
  chosen = sitting.wanted(sitting.Sitting("tried", finished=("first-0",)))
  assert [entry.name for entry in chosen] == ["second-0"]


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--only", "third-0"], "no entry is called third-0"),
    (["--finished", "third-0"], "no entry is called third-0"),
  ],
)
def test_an_unknown_entry_is_a_sentence(flags, message, tmp_path):
  with pytest.raises(SystemExit, match=message):
    sit(tmp_path, *flags)


def test_an_unknown_study_is_a_sentence():
  with pytest.raises(SystemExit, match="there is no study 'other'; choose from tried"):
    sitting.main(["other"])
