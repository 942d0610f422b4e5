"""The check for accelerators runs on a CPU too, and notices what is wrong."""

import json
import subprocess
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsm_optax
from experiments.benchmarks import accelerator, exactness_cases
from experiments.benchmarks.accelerator_table import gpu_table
from experiments.benchmarks.exactness_cases import Case, differing, numpy_threshold
from experiments.benchmarks.trees import quick_tree
from experiments.benchmarks.whole_step import quick_init
from experiments.models import from_nnx
from experiments.models.resnet50 import Bottleneck
from experiments.run.timing import Deadline, NoTimeError, in_time, side_by_side

SMALL = ["--quick", "--model=lenet300", "--image-size=4", "--turn-seconds=0.01"]


def keep_one_tree(patch):
  """Of those that are compared: each takes some seconds to compile."""
  for name in set(exactness_cases.TREES) - {"mixed types"}:
    patch.delitem(exactness_cases.TREES, name)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
  path = tmp_path_factory.mktemp("gpu") / "new" / "gpu.json"
  with pytest.MonkeyPatch.context() as patch:
    keep_one_tree(patch)
    code = accelerator.main([*SMALL, "--commit", "abc", "--out", str(path)])
  assert code == 0
  return json.loads(path.read_text())


def test_every_part_is_in_the_file(results):
  assert results["git_commit"] == "abc"
  assert results["device"]["platform"] == "cpu"
  exactness, update, step = (results[name] for name in accelerator.PARTS)
  # 7 kinds of numbers, 4 densities, and 3 starts where products are not subnormal.
  assert exactness["comparisons"] == 4 * (7 * 3 + 6 * 4)
  assert exactness["mismatches"] == 0
  assert exactness["skipped"] is None
  (row,) = update["rows"]
  assert (row["size"], row["weights"], row["leaves"]) == ("lenet300", 266_200, 3)
  assert {"copy", "pass", "keep_top_saliency", "SGD", "lax.top_k"} <= row[
    "seconds"
  ].keys()
  assert row["compile_seconds"].keys() == {
    "SGD",
    "SGD with clip_by_global_norm",
    "gsm_optax.gsm",
  }
  assert step["ratio_to_sgd"]["SGD"] == 1
  assert {"gsm_optax.gsm", "GSM by lax.top_k", "GSM by jnp.sort"} < step[
    "seconds"
  ].keys()
  assert not step["left_out"]


def test_the_table_has_every_part(results):
  sentence, update, step = gpu_table(results).split("\n\n")
  assert sentence == ("180 comparisons with the CPU and NumPy, bit by bit: 0 differ.")
  heading, line, row = update.split("\n")
  assert heading.count("|") == line.count("|") == row.count("|")
  assert row.startswith("| 266,200 | 3 | ")
  heading, line, row = step.split("\n")
  assert heading.count("|") == line.count("|") == row.count("|")
  assert row.startswith("| lenet300, 4, 4², float32 | ")
  assert row.count("×") == 6


def test_the_table_leaves_out_what_is_missing(results):
  step = results["step"] | {"ratio_to_sgd": {"SGD": 1.0, "gsm_optax.gsm": 1.25}}
  skipped = {"skipped": "The time was up."}
  table = gpu_table({"exactness": skipped, "update": {"failed": "no"}, "step": step})
  assert table.endswith("ms |  |  |  | 1.250 × |  |  |")
  assert table.count("\n") == 2


def test_a_wrong_threshold_is_noticed_and_listed(tmp_path, monkeypatch):
  keep_one_tree(monkeypatch)
  right = gsm_optax.global_threshold
  monkeypatch.setattr(
    gsm_optax,
    "global_threshold",
    lambda scores, q: jnp.nextafter(right(scores, q), jnp.float32(jnp.inf)),
  )
  path = tmp_path / "gpu.json"
  flags = [*SMALL, "--parts", "exactness", "--out", str(path)]
  assert accelerator.main(flags) == 1
  exactness = json.loads(path.read_text())["exactness"]
  assert 20 < exactness["mismatches"] <= 28  # the next of infinity is itself
  case = exactness["mismatching_cases"][0]
  assert case == {
    "comparison": "global_threshold, as NumPy",
    "tree": "mixed types",
    "kind": "normal",
    "seed": 0,
    "density": 0.001,
    "numbers_differing": 1,
  }


def test_a_part_that_fails_does_not_take_the_others_along(tmp_path, monkeypatch, capfd):
  def fail(*_):
    raise RuntimeError("out of luck\nand more")

  monkeypatch.setattr(accelerator, "exactness", fail)
  path = tmp_path / "gpu.json"
  flags = [*SMALL, "--parts", "exactness", "update", "--sizes", "lenet300"]
  monkeypatch.setattr(accelerator, "updates", lambda *_: {"rows": [], "skipped": {}})
  assert accelerator.main([*flags, "--out", str(path)]) == 1
  results = json.loads(path.read_text())
  assert results["exactness"] == {"failed": "out of luck"}
  assert results["update"] == {"rows": [], "skipped": {}}
  assert "RuntimeError: out of luck" in capfd.readouterr().err


def test_without_time_the_parts_are_skipped_and_said_to_be(tmp_path, capsys):
  path = tmp_path / "gpu.json"
  assert accelerator.main([*SMALL, "--seconds", "0", "--out", str(path)]) == 0
  results = json.loads(path.read_text())
  said = capsys.readouterr().out
  for name in accelerator.PARTS:
    assert results[name] == {"skipped": "The time was up."}
    assert f"{name}: skipped, the time was up" in said


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--seconds", "-1"], "--seconds must be 0 or more and finite, not -1.0."),
    (["--seconds", "nan"], "--seconds must be 0 or more and finite, not nan."),
    (["--turn-seconds", "0"], "--turn-seconds must be above 0 and finite, not 0.0."),
    (["--density", "2"], "--density must be above 0 and at most 1, not 2.0."),
    (["--seeds", "0"], "--seeds must be at least 1."),
    (["--batch-size", "0"], "--batch-size must be at least 1."),
    (["--image-size", "-3"], "--image-size must be at least 1."),
    (["--sizes", "abc"], "there is no size 'abc'"),
    (["--sizes", "1e6", "-5"], "-5"),
    (["--sizes", "inf"], "there is no size 'inf'"),
    (["--parts", "all"], "invalid choice: 'all'"),
  ],
)
def test_nonsense_is_refused(flags, message, tmp_path, capsys):
  with pytest.raises(SystemExit, match="2"):
    accelerator.main([*flags, "--out", str(tmp_path / "out" / "gpu.json")])
  assert message in capsys.readouterr().err
  assert not (tmp_path / "out").exists()


def test_it_needs_none_of_the_packages_for_training_on_mnist():
  missing = ("tyro", "tensorboardX", "sklearn", "pooch", "matplotlib")
  program = f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
  program += "import experiments.benchmarks.accelerator"
  command = [sys.executable, "-c", program]
  result = subprocess.run(command, capture_output=True, text=True)
  assert result.returncode == 0, result.stderr[-2000:]


def test_bits_are_compared():
  numbers = np.float32([0, 1, np.nan])
  other_nan = np.uint32([0, 0x3F800000, 0xFFC00001]).view(np.float32)
  assert differing([numbers], [other_nan]) == 0
  assert differing([numbers], [np.float32([-0.0, 1, np.nan])]) == 1
  assert differing([numbers], [np.float32([0, np.nan, 1])]) == 2
  assert differing([numbers], [numbers.astype(np.float16)]) == 3
  assert differing([jnp.bfloat16(1.5)], [jnp.bfloat16(1.5)]) == 0


def test_numpy_knows_the_threshold():
  scores = [np.float32([3, np.nan]), np.float16([[2, 5]])]
  assert [numpy_threshold(scores, q) for q in (1, 2, 3, 4)] == [5, 3, 2, 0]


@pytest.mark.parametrize("kind", exactness_cases.KINDS)
def test_cases_are_made_again_from_their_seed_and_have_their_kind(kind):
  one, same, other = (Case.make("mixed types", kind, seed) for seed in (0, 0, 1))
  assert differing(one.scores, same.scores) == 0
  assert differing(one.weights, same.weights) == 0
  assert differing(one.weights, other.weights) > 0
  first = one.scores[0]
  assert all(not np.any(np.signbit(score)) for score in one.scores)
  assert np.any(first < 1.2e-38) == (kind in ("subnormal", "ties", "90 % zeros"))
  products = np.concatenate([product.ravel() for product in one.saliencies()])
  if one.multiplies:
    assert not np.any((products > 0) & (products < np.finfo(np.float32).tiny))


def test_trees_for_a_device_have_the_scales_of_layers():
  gradients, weights = quick_tree([(100, 40), (10, 100)], seed=0)
  assert [leaf.shape for leaf in weights] == [(100, 40), (10, 100)]
  np.testing.assert_allclose(weights[0].std(), 0.1, rtol=0.1)
  np.testing.assert_allclose(weights[1].std(), 10**-0.5, rtol=0.1)
  assert abs(np.corrcoef(gradients[0].ravel(), weights[0].ravel())[0, 1]) < 0.1


def test_what_takes_too_long_is_not_timed():
  calls = []
  run = partial(calls.append, 0)
  with pytest.raises(NoTimeError, match="The time was up"):
    in_time(run, 1e-6, Deadline.after(0))
  assert not calls
  with pytest.raises(NoTimeError, match="no time for five"):
    in_time(partial(time.sleep, 0.05), 1e-6, Deadline.after(0.15))
  assert in_time(run, 1e-6, Deadline.after(60)) < 1
  assert len(calls) == 2 + 2 + 3


def test_params_for_a_device_are_as_the_model_makes_them():
  model = from_nnx(lambda rngs: Bottleneck(64, 32, 2, rngs))
  quick, usual = quick_init(model), model.init(jax.random.key(0))

  def compare(found, expected):
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if found.ndim == 1:
      np.testing.assert_array_equal(found, expected)
    else:
      np.testing.assert_allclose(found.std(), expected.std(), rtol=0.2)

  jax.tree.map(compare, quick, usual)


def test_quick_runs_are_called_several_times_a_turn():
  calls = []
  times = side_by_side({"quick": lambda: calls.append(0)}, 1e-6, most=3, turn=1.0)
  assert len(calls) == 2 + 3 * 64  # to compile, to know how long, and the turns
  assert times["quick"] < 1
