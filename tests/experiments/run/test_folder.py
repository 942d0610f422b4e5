"""What a run's folder says and refuses."""

import errno
import json

import numpy as np
import pytest

from experiments.run import locks
from experiments.run.checkpoints import Checkpoints
from experiments.run.files import SEAL, check_seal, remove, seal, whole_name, writing
from experiments.run.finished import Finished
from experiments.run.folder import FILES, RunError, RunFolder, finished
from experiments.run.weights import load_weights, save_weights

RUN = {"seed": 0, "model": {"name": "lenet300"}}


def opened(path, resume=False, description=RUN):
  with RunFolder(path, description).opened(resume) as replaces:
    return replaces


def finish(path, description=RUN):
  path.mkdir(parents=True, exist_ok=True)
  results = {"config": description, "wall_seconds": {"base": 1.0}}
  (path / "results.json").write_text(json.dumps(results))
  save_weights(path / "base", {"params": {"a": np.ones(3)}, "batch_stats": {}})
  Checkpoints(path / "checkpoints", print).save(3, {"a": np.ones(3)}, {})


def names(path):
  return sorted(part.name for part in path.iterdir())


def test_a_new_folder_has_a_note_of_what_the_run_is(tmp_path):
  assert not opened(tmp_path / "a" / "run")
  assert json.loads((tmp_path / "a/run/job.json").read_text()) == RUN
  assert names(tmp_path / "a/run") == ["job.json", "lock"]


def test_a_finished_run_is_replaced_by_the_same_only(tmp_path):
  finish(tmp_path / "run")
  with pytest.raises(RunError, match="another run, with seed 0 instead of 1: give the"):
    opened(tmp_path / "run", description=RUN | {"seed": 1})
  assert opened(tmp_path / "run")
  assert names(tmp_path / "run") == ["job.json", "lock"]


def test_a_finished_run_is_cleared_away_so_that_it_may_be_killed(tmp_path, monkeypatch):
  finish(tmp_path / "run")
  order = []
  monkeypatch.setattr(
    "experiments.run.folder.remove", lambda path: order.append(path.name)
  )
  opened(tmp_path / "run")
  assert order[:2] == ["results.json", "checkpoints"]


@pytest.mark.parametrize("left", ["checkpoints/5", "params", "found/checkpoints/7"])
def test_an_unfinished_run_is_not_overwritten(left, tmp_path):
  (tmp_path / left).mkdir(parents=True)
  folder = RunFolder(tmp_path, RUN, [*FILES, "found"])
  with (
    pytest.raises(RunError, match="unfinished run: continue it with --resume, remove"),
    folder.opened(resume=False),
  ):
    pass
  with folder.opened(resume=True):
    assert (tmp_path / left).exists()


@pytest.mark.parametrize("note", ["job.json", "results.json"])
def test_resuming_refuses_another_run(note, tmp_path):
  finish(tmp_path)
  if note == "job.json":
    (tmp_path / "results.json").unlink()
    (tmp_path / "job.json").write_text(json.dumps(RUN))
  with pytest.raises(RunError, match=r"model.name lenet300 instead of lenet5"):
    opened(tmp_path, True, {"seed": 0, "model": {"name": "lenet5"}})


def test_files_of_the_user_are_left_alone(tmp_path):
  (tmp_path / "thesis.tex").touch()
  for resume in (False, True):
    with pytest.raises(RunError, match=r"files that are no run's \(thesis.tex\): ch"):
      opened(tmp_path, resume)
  assert names(tmp_path) == ["thesis.tex"]


def test_what_was_being_written_is_removed(tmp_path):
  for name in ("base.partial", "params.discarded", "base.orbax-checkpoint-tmp-1"):
    (tmp_path / name).mkdir()
    assert whole_name(name) in FILES
  (tmp_path / "job.json.partial").touch()
  opened(tmp_path, resume=True)
  assert names(tmp_path) == ["job.json", "lock"]


@pytest.mark.parametrize(
  ("name", "sentence"),
  [
    ("a[1]", r"contains \[, which checkpoints cannot have"),
    ("a\\b", r"contains \\, which"),
    ("a\0b", "contains what is no character"),
    ("a\udcffb", "contains what is no character"),
    ("x" * 300, "File name too long"),
    ("file/run", "Not a directory"),
    ("file", "is a file: choose a folder"),
    ("nowhere", "cannot be written"),
    ("/proc/run", "cannot be written"),
    ("gs://bucket/run", "is an address, and runs need a folder"),
  ],
)
def test_an_impossible_folder_is_one_sentence(name, sentence, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "file").touch()
  (tmp_path / "nowhere").symlink_to("nowhere")
  with pytest.raises(RunError, match=sentence) as error:
    opened(type(tmp_path)(name))
  assert "choose a" in str(error.value)
  assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
  "name", ["a b", "ünï☃", "a%41", "a#b", "{a}", "~", "a'\"", "a\nb", "a:b", "-a", "a."]
)
def test_weights_in_a_strange_folder_can_be_read_back(name, tmp_path):
  finish(tmp_path / name)
  with RunFolder(tmp_path / name, RUN).opened(resume=True):
    pass
  base = finished(tmp_path / name).weights("base")
  np.testing.assert_array_equal(base["params"]["a"], np.ones(3))


def test_what_cannot_be_read_back_ends_before_the_training(tmp_path, monkeypatch):
  monkeypatch.setattr("experiments.run.weights.read_arrays", lambda _: {"other": 1})
  finish_nothing = RunFolder(tmp_path / "run", RUN)
  with (
    pytest.raises(RunError, match="what was read back is not what was written"),
    finish_nothing.opened(resume=False),
  ):
    raise AssertionError("this would be the training")


def test_two_runs_in_a_folder_exclude_each_other(tmp_path):
  finish(tmp_path)
  run = finished(tmp_path)
  with RunFolder(tmp_path, RUN).opened(resume=True):
    with pytest.raises(RunError, match=r"Another run is using .* with --out"):
      opened(tmp_path)
    with pytest.raises(RunError, match=r"Another run is using .* with --base"):
      run.weights("base")
    opened(tmp_path / "part")
  # The file of the lock stays, and is no obstacle.
  assert (tmp_path / "lock").exists()
  run.weights("base")
  remove(tmp_path / "part")
  opened(tmp_path)


def test_a_file_system_may_have_no_locks(tmp_path, monkeypatch):
  fcntl = pytest.importorskip("fcntl")

  def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "flock", flock)
  with locks.locked(tmp_path), locks.read_locked(tmp_path, "--base"):
    pass


@pytest.mark.parametrize(
  ("content", "sentence"),
  [
    (None, "holds no finished run: name another folder with --found, or run"),
    ("{", "cannot be read .*run it again with --resume"),
    ("[]", "it is no JSON object"),
    ('{"config": 1}', "is not a run's: name another folder"),
  ],
)
def test_what_is_no_finished_run_is_one_sentence(content, sentence, tmp_path):
  if content is not None:
    (tmp_path / "results.json").write_text(content)
  with pytest.raises(RunError, match=sentence):
    finished(tmp_path, "--found")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "a\udcff", "file/run"])
def test_an_impossible_source_is_one_sentence(name, tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(RunError, match="with --base"):
    finished(tmp_path / name)


def test_missing_weights_are_one_sentence(tmp_path):
  with pytest.raises(RunError, match="lacks its params: name another folder with --f"):
    Finished(tmp_path, {}, "--found").weights("params")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"config": 3}'])
def test_damaged_results_are_not_replaced_but_written_anew(content, tmp_path):
  (tmp_path / "results.json").write_text(content)
  with pytest.raises(RunError, match=r"is damaged .*: write it anew with --resume"):
    opened(tmp_path)
  opened(tmp_path, resume=True)


def test_a_seal_tells_of_every_change(tmp_path):
  (tmp_path / "a").write_text("1")
  seal(tmp_path)
  check_seal(tmp_path)
  (tmp_path / "a").write_text("2")
  with pytest.raises(ValueError, match="a has changed"):
    check_seal(tmp_path)
  (tmp_path / "a").unlink()
  with pytest.raises(ValueError, match="a is missing"):
    check_seal(tmp_path)
  (tmp_path / SEAL).unlink()
  with pytest.raises(ValueError, match="has no seal"):
    check_seal(tmp_path)


def test_the_parts_of_a_list_come_back_by_their_numbers(tmp_path):
  tree = {"blocks": {i: {"a": np.float32(i)} for i in range(12)}, "none": {}}
  save_weights(tmp_path / "w", tree)
  found = load_weights(tmp_path / "w")["blocks"]
  assert found == tree["blocks"]


def test_writing_replaces_a_file_a_folder_or_nothing(tmp_path):
  for make in (lambda path: path.mkdir(), lambda path: path.touch()):
    with writing(tmp_path / "a") as partial:
      make(partial)
    assert names(tmp_path) == ["a"]
  with pytest.raises(TypeError), writing(tmp_path / "a") as partial:
    partial.write_text(None)
  assert (tmp_path / "a").read_text() == ""
