"""The main job, from its command line to the files it leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import gsm_optax
from experiments.jobs.prune import main
from experiments.run.weights import load_weights

ROOT = Path(__file__).parents[3]
SHORT = ["--base.epochs", "4", "--gsm.epochs", "8", "--evaluate-every", "2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """The folder of a short run that was not interrupted."""
  folder = tmp_path_factory.mktemp("runs") / "finished"
  main([*SHORT, "--out", str(folder)])
  return folder


def records(folder):
  return [
    json.loads(line) for line in (folder / "metrics.jsonl").read_text().split("\n")[:-1]
  ]


def test_the_results_hold_what_the_run_was_and_gave(finished):
  results = json.loads((finished / "results.json").read_text())
  assert results["preset"] == "digits"
  assert (results["model"], results["dataset"], results["seed"]) == (
    "lenet300",
    "digits",
    0,
  )
  assert results["num_prunable"] == 64 * 300 + 300 * 100 + 100 * 10
  assert results["num_kept"] == 2510
  assert results["density"] == 2510 / 50_200
  assert results["compression_ratio"] == 20
  assert [layer["path"] for layer in results["layers"]] == [
    f"dense{i}/kernel" for i in (1, 2, 3)
  ]
  assert sum(layer["kept"] for layer in results["layers"]) == 2510
  assert set(results["wall_seconds"]) == {"base", "gsm", "total"}
  assert results["versions"]["jax"] == jax.__version__
  assert results["device"]["platform"] == jax.default_backend()
  assert results["config"]["gsm"]["epochs"] == 8
  last = records(finished)[-1]
  assert results["gsm_accuracy"] == last["accuracy"]
  assert results["pruned_accuracy"] == last["pruned_accuracy"]
  assert results["base_accuracy"] == records(finished)[2]["accuracy"] > 80


def test_each_evaluation_is_a_line(finished):
  lines = records(finished)
  assert [line["total_epochs"] for line in lines] == [0, 2, 4, 6, 8, 10, 12]
  assert [line["phase"] for line in lines] == ["base"] * 3 + ["gsm"] * 4
  for line in lines[1:]:
    assert line["magnitude_at_q"] > line["magnitude_at_1.25q"] > 0
    assert 0 <= line["active_set_changed"] <= 1
    assert sum(line["log10_magnitude"]["counts"]) == 50_200


def test_the_params_left_are_the_final_and_the_pruned_ones(finished):
  params, pruned = (
    load_weights(finished / "params"),
    load_weights(finished / "pruned_params"),
  )
  mask = gsm_optax.magnitude_mask(params, 1 / 20)
  expected = gsm_optax.apply_mask(params, mask)
  jax.tree.map(np.testing.assert_array_equal, pruned, expected)
  assert gsm_optax.sparsity_report(pruned).kept == 2510


def test_a_picture_and_tensorboard_events_are_left(finished):
  assert (finished / "report.png").read_bytes()[:4] == b"\x89PNG"
  events = list((finished / "tensorboard").glob("events*"))
  assert len(events) == 1
  assert b"pruned_accuracy" in events[0].read_bytes()


def test_plain_lines_and_a_table_where_the_output_is_no_terminal(tmp_path, capsys):
  main(["--base.epochs", "1", "--gsm.epochs", "1", "--out", str(tmp_path / "run")])
  output = capsys.readouterr().out
  assert "gsm epoch 1: loss" in output
  assert "if pruned now" in output
  assert "Warning: These weights will not vanish" in output
  assert "dense2/kernel" in output


def test_quiet_prints_one_line(tmp_path, capsys):
  main([
    "--base.epochs", "0", "--gsm.epochs", "0", "--quiet", "--out", str(tmp_path / "run")
  ])  # fmt: skip
  output = capsys.readouterr().out
  assert output.count("\n") == 1
  assert "pruned 20.0×" in output
  assert "GSM" not in output


def test_a_run_with_the_base_of_another_is_the_run_that_trains_its_own(
  finished, tmp_path
):
  main([*SHORT, "--base", str(finished), "--out", str(tmp_path)])
  assert records(tmp_path)[1:] == records(finished)[3:]
  for name in ("params", "base"):
    jax.tree.map(
      np.testing.assert_array_equal,
      load_weights(tmp_path / name),
      load_weights(finished / name),
    )
  results = [
    json.loads((folder / "results.json").read_text()) for folder in (finished, tmp_path)
  ]
  for name in ("base_accuracy", "gsm_accuracy", "pruned_accuracy", "layers"):
    assert results[0][name] == results[1][name]
  assert results[0]["wall_seconds"]["base"] == results[1]["wall_seconds"]["base"]


def test_a_base_of_another_recipe_is_refused(finished, tmp_path):
  out = ["--out", str(tmp_path / "run")]
  with pytest.raises(SystemExit, match=r"with base\.epochs 4 instead of 5"):
    main([*SHORT, "--base.epochs", "5", "--base", str(finished), *out])
  with pytest.raises(SystemExit, match="choose another folder with --base"):
    main([*SHORT, "--seed", "1", "--base", str(finished), *out])
  with pytest.raises(
    SystemExit, match="holds no finished run: name another folder with --base"
  ):
    main([*SHORT, "--base", str(tmp_path), *out])


def test_held_out_images_take_the_place_of_the_test_images(tmp_path):
  short = ["--base.epochs", "1", "--gsm.epochs", "1", "--out", str(tmp_path)]
  main([*short, "--data.held-out", "300"])
  accuracy = json.loads((tmp_path / "results.json").read_text())["base_accuracy"]
  assert (accuracy * 3) % 1 < 1e-9 or (accuracy * 3) % 1 > 1 - 1e-9
  with pytest.raises(SystemExit, match="There are 1347 training images: 1347 cannot"):
    main([*short, "--data.held-out", "1347"])


def test_a_killed_run_resumed_is_the_run_that_was_not_killed(finished, tmp_path):
  command = [sys.executable, "-m", "experiments.prune", *SHORT, "--out", str(tmp_path)]
  # Killed in each phase, at whatever it is doing when so many evaluations are recorded.
  for evaluations in (2, 5):
    process = subprocess.Popen(
      [*command, "--resume"], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    metrics = tmp_path / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() or metrics.read_text().count("\n") < evaluations:
      assert process.poll() is None, "the run ended before it could be killed"
      assert time.monotonic() < deadline
      time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "results.json").exists()

  # Without --resume the unfinished run is not overwritten.
  refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert refused.returncode == 1
  assert "holds an unfinished run: continue it with --resume" in refused.stderr
  # Another configuration is refused.
  other = [*command, "--resume", "--gsm.optimizer.momentum", "0.5"]
  refused = subprocess.run(other, cwd=ROOT, capture_output=True, text=True)
  assert refused.returncode == 1
  assert (
    "another run, with gsm.optimizer.momentum 0.99 instead of 0.5" in refused.stderr
  )

  subprocess.run([*command, "--resume"], cwd=ROOT, check=True, capture_output=True)
  assert records(tmp_path) == records(finished)
  for name in ("params", "pruned_params"):
    jax.tree.map(
      np.testing.assert_array_equal,
      load_weights(tmp_path / name),
      load_weights(finished / name),
    )


def test_a_finished_run_is_replaced_but_other_files_are_not(tmp_path, capsys):
  (tmp_path / "thesis.tex").write_text("")
  for resume in ([], ["--resume"]):
    with pytest.raises(SystemExit, match=r"no run's \(thesis.tex\)"):
      main([*SHORT, *resume, "--out", str(tmp_path)])
  assert (tmp_path / "thesis.tex").exists()
  (tmp_path / "thesis.tex").unlink()
  short = ["--base.epochs", "1", "--gsm.epochs", "1", "--out"]
  for again in (False, True):
    main([*short, str(tmp_path / "run")])
    assert len(records(tmp_path / "run")) == 3
    assert ("Running anew what is finished in" in capsys.readouterr().out) == again
  with pytest.raises(
    SystemExit, match=r"another run, with density 0.05 instead of 0.5"
  ):
    main([*short, str(tmp_path / "run"), "--density", "0.5"])


def test_a_training_that_diverges_is_ended(tmp_path):
  with pytest.raises(SystemExit, match="the training has diverged"):
    main([*SHORT, "--base.schedule.peak", "1e9", "--out", str(tmp_path / "run")])
