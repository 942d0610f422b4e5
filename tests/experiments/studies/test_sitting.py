"""A study's runs, some minutes at a time, end as if they had not been interrupted."""

import json
import shutil
import tarfile

import pytest

from experiments.studies import sitting
from experiments.studies.study import Entry, Study

NUMBERS = {"base.epochs": 1, "gsm.epochs": 4, "evaluate_every": 2}
STUDY = Study(
  [
    Entry("first-0", "digits", NUMBERS),
    Entry("second-0", "digits", {**NUMBERS, "seed": 1}),
    Entry("other-0", "digits", NUMBERS, base="first-0"),
    Entry("base-0", "digits", {"gsm.epochs": 0}),
  ],
  tables=lambda _: {},
)
BOTH = ["--only", "first-0", "second-0"]


@pytest.fixture(autouse=True)
def study(monkeypatch):
  monkeypatch.setattr(sitting, "studies", lambda: {"tried": STUDY, "else": STUDY})


def sit(folder, *flags, study="tried"):
  """A sitting on a machine of its own."""
  sitting.main([
    *(study, "--out", str(folder / "out"), "--least-epochs", "3"),
    *("--runs-dir", str(folder / "runs"), "--results-dir", str(folder / "results")),
    *(flags or BOTH),
  ])  # fmt: skip
  return folder / "out" / "runs.tar"


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
  """What a sitting leaves whose time is up before the first epoch is."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sitting, "studies", lambda: {"tried": STUDY})
    patch.setattr(sitting, "BESIDES", -1)  # it is begun with no time at all
    folder = tmp_path_factory.mktemp("begun")
    return sit(folder, *BOTH, "--most-epochs", "3", "--minutes", "0.01")


def test_no_run_is_begun_that_cannot_train(tmp_path, capsys):
  archive = sit(tmp_path, *BOTH, "--minutes", "0.01")
  said = capsys.readouterr().out
  assert "With 0 s left first-0 is not begun." in said
  assert "Finished, of 2: none." in said
  assert f"--continues {archive} goes on." in said
  with tarfile.open(archive) as tar:
    assert tar.getnames() == ["study.json"]  # nor is its number of epochs chosen


def test_a_plan_of_what_was_not_trained_is_made_anew(tmp_path):
  runs = tmp_path / "runs"
  (runs / "first-0").mkdir(parents=True)
  (runs / "first-0" / "job.json").write_text('{"gsm": {"epochs": 60}}')
  (runs / "first-0.plan.json").write_text('{"epochs": 60}')
  sit(tmp_path, "--only", "first-0", "--most-epochs", "2")
  results = json.loads((runs / "first-0" / "results.json").read_text())
  assert results["config"]["gsm"]["epochs"] == results["sitting"]["epochs"] == 2

  # Killed between two writes, the results lack their plan, which the next one adds.
  del results["sitting"]
  (runs / "first-0" / "results.json").write_text(json.dumps(results))
  shutil.rmtree(tmp_path / "results")
  sit(tmp_path, "--only", "first-0", "--minutes", "0")
  committed = json.loads((tmp_path / "results/first-0/results.json").read_text())
  assert committed["sitting"]["epochs"] == 2


def test_what_is_left_is_continued_to_the_same_bits(begun, tmp_path):
  with tarfile.open(begun) as tar:
    names = tar.getnames()
  assert {"study.json", "first-0.plan.json", "first-0/job.json"} <= {*names}
  assert any(name.startswith("first-0/checkpoints/") for name in names)

  # The number of epochs is the one that was chosen, whatever is asked for now.
  archive = sit(
    tmp_path / "ended", *BOTH, "--most-epochs", "4", "--continues", str(begun)
  )
  sit(tmp_path / "at-once", "--only", "first-0", "--most-epochs", "3")
  ended, at_once = (
    tmp_path / folder / "results" / "first-0" for folder in ("ended", "at-once")
  )
  for name in ("metrics.jsonl", "report.png"):
    assert (ended / name).exists()
  assert (ended / "metrics.jsonl").read_text() == (
    at_once / "metrics.jsonl"
  ).read_text()
  results = json.loads((ended / "results.json").read_text())
  assert results["config"]["gsm"]["epochs"] == results["sitting"]["epochs"] == 3
  assert results["sitting"]["images_per_second"] > 0
  # The next one has begun anew, and with as many epochs as are asked for.
  second = json.loads((ended.parent / "second-0" / "results.json").read_text())
  assert (second["seed"], second["config"]["gsm"]["epochs"]) == (1, 4)

  # What is finished is not trained again: no time is needed to bring it home.
  home = tmp_path / "home"
  sit(home, *BOTH, "--minutes", "0", "--continues", str(archive))
  assert json.loads((home / "results/first-0/results.json").read_text()) == results
  assert (home / "results" / "second-0" / "results.json").exists()


def test_an_archive_is_not_overwritten_by_a_machine_that_does_not_know_it(
  begun, tmp_path
):
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "runs.tar").write_bytes(begun.read_bytes())
  with pytest.raises(SystemExit, match="go on with --continues"):
    sit(tmp_path)
  assert (tmp_path / "out" / "runs.tar").read_bytes() == begun.read_bytes()


def test_an_archive_that_is_none_is_a_sentence(begun, tmp_path):
  text, cut = tmp_path / "text", tmp_path / "cut"
  text.write_text("no archive")
  cut.write_bytes(begun.read_bytes()[:3000])
  for archive in (text, cut, tmp_path, tmp_path / "nowhere"):
    with pytest.raises(SystemExit, match="cannot be continued"):
      sit(tmp_path / "a", *BOTH, "--continues", str(archive))
  with pytest.raises(SystemExit, match="holds runs of tried, not of else"):
    sit(tmp_path / "a", *BOTH, "--continues", str(begun), study="else")


def test_a_damaged_plan_is_a_sentence(tmp_path):
  (tmp_path / "runs" / "first-0" / "checkpoints" / "1").mkdir(parents=True)
  for content in ("{", "{}", "[]", '{"epochs": "3"}'):
    (tmp_path / "runs" / "first-0.plan.json").write_text(content)
    with pytest.raises(SystemExit, match=r"plan\.json is damaged"):
      sit(tmp_path)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--only", "third-0"], "No entry of tried is called third-0"),
    (["--only", "other-0"], "other-0 needs another run"),
    (["--only", "base-0"], "has no epochs to choose"),
    ([*BOTH, "--minutes", "nan"], "--minutes must be 0 or more, not nan"),
    ([*BOTH, "--minutes", "-1"], "--minutes must be 0 or more"),
    ([*BOTH, "--most-epochs", "0"], "--most-epochs must be at least 1"),
    ([*BOTH, "--least-epochs", "-4"], "--least-epochs must be at least 1"),
    ([*BOTH, "--image-size", "4"], "digits has no option size"),
  ],
)
def test_what_makes_no_sense_is_a_sentence(flags, message, tmp_path):
  with pytest.raises(SystemExit, match=message):
    sit(tmp_path, *flags)
  assert not (tmp_path / "results").exists()


def test_folders_that_cannot_be_are_a_sentence(tmp_path):
  (tmp_path / "out").write_text("")
  with pytest.raises(SystemExit, match="out cannot be written"):
    sit(tmp_path)


def test_an_unknown_study_is_a_sentence():
  with pytest.raises(SystemExit, match="There is no study 'other'; choose from tried"):
    sitting.main(["other"])
