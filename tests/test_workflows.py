"""What runs elsewhere runs what is checked here."""

import subprocess
from pathlib import Path

import pytest
import yaml

import gsm_optax

ROOT = Path(__file__).parents[1]
FILES = [*ROOT.glob(".github/**/*.yml"), ROOT / ".pre-commit-config.yaml"]


def commands(name):
  workflow = yaml.safe_load((ROOT / ".github/workflows" / name).read_text())
  steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
  return [step["run"] for step in steps if "run" in step]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_yaml(path):
  assert yaml.safe_load(path.read_text())


def test_the_checks_are_the_project_s():
  assert ".ci/run" in commands("ci.yml")
  assert ".ci/run" in commands("release.yml")
  assert any("mkdocs build --strict" in command for command in commands("docs.yml"))


def test_a_tag_must_be_the_version(monkeypatch):
  (command,) = (run for run in commands("release.yml") if "__version__" in run)
  for tag, code in ((f"v{gsm_optax.__version__}", 0), ("v0.0.1", 1)):
    monkeypatch.setenv("GITHUB_REF_NAME", tag)
    assert subprocess.run(["bash", "-c", command], cwd=ROOT).returncode == code
