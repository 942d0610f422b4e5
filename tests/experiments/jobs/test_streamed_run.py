"""ResNet-50 on a small folder of JPEGs, killed within an epoch and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.run.weights import load_weights

ROOT = Path(__file__).parents[3]
IMAGES, BATCH = 13, 8
"""Of each of two classes, and per step: three steps an epoch, and two images left."""

PROGRAM = """
import sys
from pathlib import Path

from experiments.configs import recipes
from experiments.configs.recipe import changed
from experiments.jobs import prune
from experiments.jobs.command_line import Job, run_command_line

if __name__ == "__main__":  # workers import this file too
  data_dir, out, workers = sys.argv[1:]
  recipe = changed(
    recipes()["resnet50-quick"],
    {
      "data.options": {"size": 64, "workers": int(workers)},
      "model.options": {},
      "batch_size": 8,
      "gsm.epochs": 2,
      "gsm.optimizer.density_epochs": 1,
      "gsm.schedule.warmup_epochs": 0,
      "evaluate_every": 2,
      "checkpoint_every": 2,
      "reestimate": False,
    },
  )
  paths = Path(data_dir), Path(out)
  job = Job("resnet50-quick", recipe, *paths, resume=True, quiet=True)
  run_command_line(job, prune.run)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Generated JPEGs of two classes."""
  rng = np.random.default_rng(0)
  root = tmp_path_factory.mktemp("jpegs")
  for part, number in (("train", IMAGES), ("val", 4)):
    for name in ("cat", "dog"):
      (root / part / name).mkdir(parents=True)
      for i in range(number):
        pixels = rng.integers(0, 256, (80, 100, 3), np.uint8)
        Image.fromarray(pixels).save(root / part / name / f"{i}.JPEG")
  return root


def test_resnet50_killed_within_an_epoch_ends_with_the_same_bits(folder, tmp_path):
  program = tmp_path / "program.py"
  program.write_text(PROGRAM)
  environment = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
  }

  def start(out, workers):
    command = [sys.executable, program, folder, tmp_path / out, str(workers)]
    return subprocess.Popen(
      command, env=environment, stdout=subprocess.PIPE, start_new_session=True
    )

  whole = start("whole", workers=0)
  assert b"pruned 4.0" in whole.communicate()[0]
  assert whole.returncode == 0

  killed = start("killed", workers=1)
  # After the second of three steps of the second epoch.
  while not (tmp_path / "killed" / "checkpoints" / "5").exists():
    assert killed.poll() is None, "the run ended before it could be killed"
    time.sleep(0.01)
  os.killpg(killed.pid, signal.SIGKILL)
  killed.communicate()
  assert not (tmp_path / "killed" / "results.json").exists()

  resumed = start("killed", workers=1)
  resumed.communicate()
  assert resumed.returncode == 0
  for name in ("params", "pruned_params"):
    jax.tree.map(
      np.testing.assert_array_equal,
      load_weights(tmp_path / "killed" / name),
      load_weights(tmp_path / "whole" / name),
    )
  records = [
    (tmp_path / name / "metrics.jsonl").read_text() for name in ("killed", "whole")
  ]
  assert records[0] == records[1]
