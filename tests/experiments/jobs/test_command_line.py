"""A command line is a recipe and flags; what is wrong with it is said in a sentence."""

import os
import shlex
from pathlib import Path

import pytest

from experiments.configs import recipes
from experiments.configs.recipe import changed
from experiments.jobs import magnitude, prune, tickets
from experiments.jobs.command_line import Job, parse, run_command_line
from experiments.run.driver import DeadlineError
from experiments.run.folder import FILES, RunFolder


def parsed(arguments):
  return parse(Job, "prune", "", arguments)


def test_every_flag_reaches_the_job():
  job = parsed(
    shlex.split(
      "lenet5-mnist --density 0.1 --seed 3 --base.epochs 1 --gsm.epochs 2"
      " --batch-size 8 --gsm.schedule.peak 0.5 --gsm.optimizer.momentum 0.8"
      " --gsm.optimizer.weight-decay 0.25 --gsm.schedule.after 0.1 0.2 0.3"
      " --data.held-out 9 --checkpoint-every 4 --reestimate"
      " --data-dir d --out o --base b --resume --quiet"
    )
  )
  assert job.recipe == changed(
    recipes()["lenet5-mnist"],
    {
      "density": 0.1,
      "seed": 3,
      "base.epochs": 1,
      "gsm.epochs": 2,
      "batch_size": 8,
      "gsm.schedule.peak": 0.5,
      "gsm.optimizer.momentum": 0.8,
      "gsm.optimizer.weight_decay": 0.25,
      "gsm.schedule.after": (0.1, 0.2, 0.3),
      "data.held_out": 9,
      "checkpoint_every": 4,
      "reestimate": True,
    },
  )
  assert job.recipe.model.name == "lenet5"
  assert (job.data_dir, job.folder, job.base) == (Path("d"), Path("o"), Path("b"))
  assert job.resume
  assert job.quiet


def test_options_and_augmentations_have_flags():
  job = parsed(
    shlex.split(
      "resnet20-small --model.options.depth 8 --data.options.size 8"
      " --gsm.augmentation.0.padding 1"
    )
  )
  recipe = job.recipe
  assert recipe.model.options == {"depth": 8, "width": 16}
  assert recipe.data.options == {"size": 8}
  assert recipe.gsm.augmentation[0].padding == 1


def test_the_default_is_the_digits_recipe_in_a_folder_of_its_own():
  job = parsed(["--seed", "2"])
  assert job.preset == "digits"
  assert job.folder == Path("runs/digits-2")
  assert job.recipe == changed(recipes()["digits"], {"seed": 2})


@pytest.mark.parametrize("preset", recipes())
def test_without_flags_a_recipe_stays_as_it_is(preset):
  assert parsed([preset]).recipe == recipes()[preset]


def test_an_unknown_recipe_is_answered_with_those_there_are():
  with pytest.raises(SystemExit, match=r"'mnist'; choose from .*lenet300-mnist"):
    prune.main(["mnist"])


def test_an_interrupt_ends_a_job_at_once_in_a_sentence(monkeypatch, capsys):
  def interrupted(_):
    raise KeyboardInterrupt

  codes = []
  monkeypatch.setattr(os, "_exit", codes.append)
  run_command_line(parsed([]), interrupted)
  assert codes == [130]
  errors = capsys.readouterr().err
  assert errors == "interrupted: the same command with --resume continues the run.\n"


def test_a_deadline_ends_a_job_in_a_sentence(capsys):
  def late(_):
    raise DeadlineError("stopped after epoch 3")

  run_command_line(parsed([]), late)
  assert capsys.readouterr().out == (
    "stopped after epoch 3: the same command with --resume continues the run.\n"
  )


@pytest.mark.parametrize("files", [FILES, tickets.FILES, magnitude.FILES])
def test_half_a_note_of_a_killed_job_is_its_own(files, tmp_path):
  (tmp_path / "job.json.partial").write_text("{")
  with RunFolder(tmp_path, {"seed": 0}, files).opened(resume=False) as replaces:
    assert not replaces
  assert {path.name for path in tmp_path.iterdir()} == {"job.json", "lock"}


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--density", "2"], "--density must be above 0 and at most 1, not 2.0"),
    (["--density", "1e-9"], "less than one weight"),
    (
      ["--gsm.optimizer.start-density", "0.01"],
      "--gsm.optimizer.start-density must be at least the density",
    ),
    (["--batch-size", "0"], "--batch-size must be at least 1, not 0"),
    (
      ["--gsm.optimizer.momentum", "1"],
      "--gsm.optimizer.momentum must be at least 0 and less than 1",
    ),
    (["--gsm.epochs", "-1"], "--gsm.epochs must be 0 or more"),
    (["--seed", "4294967296"], "--seed must fit into 32 bits, not 4294967296"),
    (["--gsm.schedule.peak", "nan"], "--gsm.schedule.peak must be 0 or more, not nan"),
    (["--gsm.schedule.peak", "inf"], "--gsm.schedule.peak must be finite, not inf"),
    (
      ["--model.name", "lenet5"],
      "lenet5 cannot be built for images of 8×8×1: .*and 16 or more",
    ),
    (["--model.name", "lenet6"], "There is no network 'lenet6'; choose from "),
    (["--data.name", "mnist2"], "There is no data set 'mnist2'"),
    (
      ["--gsm.schedule.after", "0.9", "0.1"],
      "--gsm.schedule.after must be shares between 0 and 1, ascending",
    ),
    (["--batch-size", "2000"], "larger than the 1347 training images"),
    (["--quiet", "digits"], "the recipe comes first"),
  ],
)
def test_nonsense_is_refused_in_a_sentence_before_anything_is_written(
  flags, message, tmp_path
):
  with pytest.raises(SystemExit, match=f"^error: .*{message}") as error:
    prune.main([*flags, *(["--out", str(tmp_path / "run")])])
  assert "\n" not in str(error.value)
  assert not (tmp_path / "run").exists()
