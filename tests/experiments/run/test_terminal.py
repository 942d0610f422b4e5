"""Programs end in words, whatever the terminal knows, and if nothing can be written."""

import os
import subprocess
import sys

import pytest

from experiments.run.terminal import printable, shown

PROGRAMS = ["prune", "magnitude", "tickets", "paper", "sitting"]


def run(program, flag="--help", **options):
  command = [sys.executable, "-m", f"experiments.{program}", flag]
  pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
  return subprocess.run(command, **{**pipes, **options})


@pytest.mark.parametrize("program", PROGRAMS)
def test_ascii_alone(program):
  ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
  done = run(program, env=ascii_only)
  assert (done.returncode, done.stderr) == (0, "")
  assert done.stdout.isascii()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
def test_a_full_disk():
  with open("/dev/full", "w") as full:
    done = run("paper", "--list", stdout=full)
  assert done.returncode == 1
  assert done.stderr == "error: No space left on device.\n"


def test_names():
  assert printable("a/é\x1b[0m\n\u202e") == r"a/é\x1b[0m\n\u202e"
  assert shown("[bold]\x07") == r"\[bold]\x07"
