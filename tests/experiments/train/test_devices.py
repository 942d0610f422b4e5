"""Two processes with four devices each train as one with eight does."""

import os
import re
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.run.weights import load_weights

ROOT = Path(__file__).parents[3]
SHORT = ["--base.epochs=3", "--gsm.epochs=6", "--evaluate-every=3", "--quiet"]


def start(devices, *flags):
  environment = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
  }
  return subprocess.Popen(
    [sys.executable, "-m", "experiments.prune", *SHORT, *flags],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def finish(*processes):
  outputs = [process.communicate(timeout=300)[0] for process in processes]
  for process, output in zip(processes, outputs, strict=True):
    assert process.returncode == 0, output[-5000:]
  return outputs


def free_port():
  with socket.socket() as server:
    server.bind(("127.0.0.1", 0))
    return server.getsockname()[1]


@pytest.mark.parametrize("flag", ["--distributed", "--process-id=0"])
def test_a_cluster_that_cannot_be_found_ends_with_a_sentence(flag, tmp_path):
  process = start(1, flag, f"--out={tmp_path / 'run'}")
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 1
  assert re.match("error: JAX knows no cluster here.*HOST:PORT.*process-id I", output)
  assert not (tmp_path / "run").exists()


def test_two_processes_end_with_the_params_of_one(tmp_path):
  cluster = [f"--coordinator-address=127.0.0.1:{free_port()}", "--num-processes=2"]
  folder = f"--out={tmp_path / 'two'}"
  first, second = finish(
    *(start(4, *cluster, f"--process-id={i}", folder) for i in range(2))
  )
  assert "pruned 20.0×" in first
  assert "pruned" not in second  # the first process alone prints and writes
  finish(start(8, f"--out={tmp_path / 'one'}"))
  for name in ("params", "pruned_params"):
    # Processes add up the gradients of their devices in another order than one does.
    jax.tree.map(
      partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6),
      load_weights(tmp_path / "two" / name),
      load_weights(tmp_path / "one" / name),
    )


def test_a_batch_that_cannot_be_split_is_refused(tmp_path):
  process = start(8, "--batch-size=60", f"--out={tmp_path / 'run'}")
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 1
  assert "--batch-size 60 cannot be split evenly over the 8 devices" in output
