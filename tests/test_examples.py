"""The examples run, prune without loss, and stay short."""

import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))

each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


def test_they_are_found():
  names = [path.stem for path in EXAMPLES]
  assert names == ["linen_cnn", "nnx_transformer", "plain_optax"]


@each_example
def test_it_is_short(path):
  assert len(path.read_text().splitlines()) < 60


@each_example
def test_it_prunes_without_loss(path):
  command = [sys.executable, str(path)]
  done = subprocess.run(command, capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stderr
  assert not done.stderr

  def number(pattern):
    (found,) = re.findall(pattern, done.stdout)
    return float(found)

  assert number(r"is left with (\S+) of its size") < 1e-4
  before, after = (number(rf"{when} pruning: ([\d.]+)") for when in ("before", "after"))
  if "accuracy" in done.stdout:
    assert before > 90
    assert abs(after - before) <= 1  # both in per cent
  else:
    assert before < 2.5
    assert abs(after / before - 1) <= 0.01

  (total,) = re.findall(r"^total .*smaller\s+(\S+)\s+(\S+)", done.stdout, re.M)
  size, kept = (count.replace(",", "") for count in total)
  density = re.search(r"^STEPS, DENSITY, .* = \d+, ([\d.]+)", path.read_text(), re.M)
  assert density
  assert int(kept) == int(Fraction(density[1]) * int(size))
