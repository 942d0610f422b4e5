"""Every entry of a study is a job that can be run, after those that it needs."""

import json
import sys
import types
from pathlib import Path

import pytest

from experiments import studies as package
from experiments.configs.check import check
from experiments.configs.recipe import describe
from experiments.jobs import magnitude, prune, tickets
from experiments.jobs.setup import OF_BASE
from experiments.run.folder import refuse_other_run
from experiments.studies import recipes as variants
from experiments.studies import studies
from experiments.studies.study import Study
from experiments.train.augmentation import Crop, Flip
from experiments.train.schedules import Cosine

RUNS = Path("runs")
each_study = pytest.mark.parametrize("study", studies())


def test_the_studies_are_those_of_the_modules():
  assert {"mnist", "recipes", "cifar10"} <= studies().keys()


def test_a_module_that_is_put_into_the_package_is_a_study(tmp_path, monkeypatch):
  (tmp_path / "my_own.py").touch()
  monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
  study = Study([], lambda _: {})
  module = types.SimpleNamespace(STUDY=study)
  monkeypatch.setitem(sys.modules, "experiments.studies.my_own", module)
  found = package.studies.__wrapped__()
  assert found["my_own"] is study
  assert found.keys() - {"my_own"} == studies().keys()


@each_study
def test_names_are_unique_and_end_with_the_seed(study):
  entries = studies()[study].entries
  assert len({entry.name for entry in entries}) == len(entries) > 0
  for entry in entries:
    assert str(entry.recipe.seed) == entry.name.split("-")[-1]


@each_study
def test_every_entry_is_a_job_with_a_recipe_that_can_be_run(study):
  run_by = {"prune": prune.run, "tickets": tickets.run, "magnitude": magnitude.run}
  for entry in studies()[study].entries:
    check(entry.recipe)
    job, run = entry.prepared(RUNS, Path("data"), 5.0)
    assert run is run_by[entry.job]
    assert job.resume
    assert (job.recipe, job.folder) == (entry.recipe, RUNS / entry.name)
    assert (job.data_dir, job.stop_after) == (Path("data"), 5.0)
    assert job.base == (RUNS / entry.base if entry.base else None)
    assert getattr(job, "found", None) == (RUNS / entry.found if entry.found else None)


@each_study
def test_what_an_entry_needs_comes_first_and_is_of_the_same_model(study):
  entries = studies()[study].entries
  before = {}
  for entry in entries:
    job, _ = entry.prepared(RUNS, None)
    for name in entry.needs:
      needed = before[name]
      assert needed.recipe.seed == entry.recipe.seed
      assert needed.recipe.model == entry.recipe.model
      assert needed.job == "prune"
    if entry.base:
      other, _ = before[entry.base].prepared(RUNS, None)
      refuse_other_run(other.description, job.description, RUNS, only=OF_BASE)
    if entry.found and job.method == "gsm":
      found = describe(before[entry.found].recipe)
      assert json.loads(json.dumps(found)) == json.loads(
        json.dumps(describe(entry.recipe))
      )
    before[entry.name] = entry


@each_study
def test_no_two_entries_are_the_same_run(study):
  seen = {}
  for entry in studies()[study].entries:
    job, _ = entry.prepared(RUNS, None)
    what = json.dumps([entry.job, job.description], sort_keys=True)
    twin = seen.setdefault(what, entry.name)
    assert twin == entry.name


def test_all_that_the_paper_reports_is_there():
  names = {entry.name for entry in studies()["mnist"].entries}
  for run in ("lenet300-60x", "lenet300-fast"):
    assert {f"{run}-{seed}" for seed in range(5)} <= names
  for seed in range(3):
    for run in ("lenet5-125x-fast", "lenet5-300x-fast"):
      assert f"{run}-{seed}" in names
      for method in ("gsm", "magnitude"):
        assert f"ticket-{run}-{method}-{seed}" in names


def test_every_variant_of_a_recipe_is_run():
  names = {entry.name for entry in studies()["recipes"].entries}
  every = (*variants.FAST, *variants.FAR_LENET300, *variants.FAR_LENET5)
  assert {f"{variant.name}-0" for variant in every} <= names
  assert all(variant.label for variant in every)
  # And nothing but these, beside their base models.
  assert {name.rsplit("-", 1)[0] for name in names} == {
    *(variant.name for variant in every),
    *("base", "base-lenet5"),
  }


def test_structures_are_compared_in_equal_epochs():
  epochs = {}
  for entry in studies()["structures"].entries:
    recipe = entry.recipe
    tried = entry.name.startswith("try-")
    assert recipe.data.held_out == (5000 if tried else 0)
    network = entry.name.removeprefix("try-").partition("-")[0]
    both = recipe.base.epochs, recipe.gsm.epochs, recipe.batch_size
    assert epochs.setdefault(network, both) == both


def test_the_methods_on_cifar10_are_compared_in_equal_epochs():
  for entry in studies()["cifar10"].entries:
    recipe = entry.recipe
    assert recipe.base.epochs + recipe.gsm.epochs == 16
    optimizer = recipe.gsm.optimizer
    ratio = recipe.gsm.schedule.peak / (1 - optimizer.momentum)
    assert ratio == pytest.approx(1)
    held_out = recipe.data.held_out
    assert held_out == (5000 if entry.name.startswith("try-") else 0)


def test_all_methods_on_cifar10_are_trained_alike():
  for entry in studies()["cifar10"].entries:
    recipe = entry.recipe
    phases = [phase for phase in (recipe.base, recipe.gsm) if phase.epochs]
    assert sum(phase.epochs for phase in phases) == 16
    for phase in phases:
      assert phase.augmentation == (Crop(2), Flip())
      assert (type(phase.schedule), phase.schedule.warmup_epochs) == (Cosine, 1)
      rate = phase.schedule.peak / (1 - phase.optimizer.momentum)
      assert round(rate, 9) == 1
      assert phase.optimizer.nesterov
      assert phase.optimizer.weight_decay == 5e-4
