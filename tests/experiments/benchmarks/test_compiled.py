"""Kernels are counted as the text of a program has them, and nonsense is refused."""

import json
import math
import subprocess
import sys
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import compiled, networks, targets
from experiments.benchmarks.compiled_table import compiled_table
from experiments.benchmarks.hlo import read
from experiments.benchmarks.shapes import NETWORKS, size
from experiments.studies.results import RESULTS

LOOP = """\
HloModule jit_update, is_scheduled=true

FileNames
1 "update.py"

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%halves (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0:T(8,128)}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %a = f32[8]{0:T(8,128)} fusion(%p), kind=kLoop, calls=%add
  ROOT %t = (s32[], f32[8]{0:T(8,128)}) tuple(%i, %a)
}

%few (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %f = f32[8]{0} fusion(%p), kind=kLoop, calls=%add
}

%many (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  %c = f32[8]{0} copy(%p)
  %w = (s32[], f32[8]{0}) while(%c), condition=%less, body=%halves
  ROOT %f = f32[8]{0} fusion(%c), kind=kLoop, calls=%add
}

%less (p: (s32[], f32[8])) -> pred[] {
  %p = (s32[], f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  ROOT %less.1 = pred[] compare(%i, %i), direction=LT
}

%body (p: (s32[], /*index=1*/f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], /*index=1*/f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %n = s32[] constant(0)
  %r = (s32[], s32[]) all-reduce-start(%n, %n), to_apply=%add
  %d = (s32[], s32[]) all-reduce-done(%r)
  %b = f32[8]{0} conditional(%n, %x, %x), branch_computations={%few, %many}
  %c = f32[8]{0} conditional(%n, %x, %x), true_computation=%few, false_computation=%few
  ROOT %t = (s32[], f32[8]{0}) tuple(%n, %c)
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  %s = (f32[8]{0}, f32[8]{0:S(1)}, u32[]{:S(2)}) copy-start(%x)
  %y = f32[8]{0:S(1)} copy-done(%s)
  %z = f32[8]{0} call(%y), to_apply=%few
  %k = f32[8]{0} custom-call(%z), custom_call_target="__cub$DeviceRadixSortKeys"
  %p = (s32[], f32[8]{0}) tuple(%x, %z)
  %w = (s32[], f32[8]{0}) while(%p), condition=%less, body=%body
  %v = (s32[], f32[8]{0}) while(%w), condition=%less, body=%halves, KNOWN
  ROOT %g = f32[8]{0} get-tuple-element(%v), index=1
}
""".replace("KNOWN", 'backend_config={"known_trip_count":{"n":"5"}}')


def test_kernels_are_counted_where_they_run():
  entry = read(LOOP)
  # The first half of the copy, what the call calls, and the custom call.
  assert entry.kernels == 3
  # All-reduce, the larger branch (a copy, a fusion) and one of two equal ones.
  search, known = entry.loops
  assert (search.kernels, search.trips) == (4, None)
  assert (known.kernels, known.trips) == (1, 5)
  assert [loop.kernels for loop in search.loops] == [1]
  assert entry.search is search
  assert entry.update_kernels(2.5) == 3 + 5 * 1 + 2.5 * (4 + 1)


def test_collectives_and_sorts_are_counted_once():
  entry = read(LOOP)
  assert entry.collectives == {"sort": 1}
  assert entry.loops[0].collectives == {"all-reduce": 1}
  assert entry.all_collectives == {"all-reduce": 1, "sort": 1}


def test_a_text_without_an_entry_is_refused():
  with pytest.raises(ValueError, match="no ENTRY"):
    read("HloModule empty")


def test_a_compiled_program_is_read():
  def update(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = jax.lax.while_loop(lambda x: x.sum() > 1, lambda x: jnp.sort(x) / 2, x)
    return x, jax.lax.fori_loop(0, 3, lambda _, y: jnp.cos(y[::-1]), x)

  entry = read(jax.jit(update).lower(jnp.ones((300, 3))).compile().as_text())
  assert entry.search
  assert entry.search.kernels > 0
  assert entry.all_collectives["sort"] == 1
  assert {3, None} == {loop.trips for loop in entry.loops}


def test_the_networks_have_the_leaves_and_weights_that_are_known_of_them():
  leaves = {name: (len(shapes), size(shapes)) for name, shapes in NETWORKS.items()}
  assert leaves["resnet56"] == (56, 848_944)
  assert leaves["resnet50"] == (54, 25_502_912)
  assert leaves["transformer"] == (49, 132_907_008)
  assert leaves["deep-transformer"][0] == 224
  assert leaves["lenet300"] == (3, 266_200)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "lenet300"])
def test_every_kernel_takes_part_in_the_loss(name):
  kernels = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in NETWORKS[name]]
  batch = networks.random_batch(name, np.random.default_rng(0))
  jaxpr = jax.make_jaxpr(networks.loss_of)(kernels, *batch)
  used = {id(v) for equation in jaxpr.eqns for v in equation.invars}
  assert all(id(v) in used for v in jaxpr.jaxpr.invars)
  assert jax.eval_shape(networks.loss_of, kernels, *batch).shape == ()


def test_passes_are_counted_on_true_gradients():
  passes = networks.passes_of("resnet8", 0.1, batches=2)
  assert len(passes) == 2
  assert all(1 <= n <= 6 for n in passes)


def test_a_run_leaves_its_numbers_and_a_picture(tmp_path):
  flags = ["--for", "cpu", "--networks", "resnet8", "--programs", "sgd", "gsm"]
  flags += ["--batches", "1", "--out", str(tmp_path)]
  command = [sys.executable, "-m", "experiments.benchmarks.compiled", *flags]
  result = subprocess.run(command, capture_output=True, text=True)
  assert result.returncode == 0, result.stderr[-2000:]
  results = json.loads((tmp_path / "compiled.json").read_text())
  (row,) = results["rows"]
  assert (row["target"], row["network"], row["leaves"]) == ("cpu", "resnet8", 8)
  gsm = row["programs"]["gsm"]
  assert gsm["compile_seconds"] > 0
  assert "kernels_of_a_pass" not in gsm
  on_eight = gsm["eight_devices"]
  assert on_eight["all_reduces_of_a_pass"] == 1
  assert on_eight["moves"] == {}
  assert (tmp_path / "compiled.png").exists()
  heading, _, line = compiled_table(results).splitlines()
  assert heading.count("|") == line.count("|")
  assert line.startswith("| CPU | `resnet8` | 8 | ")


def test_nothing_is_gathered_or_sorted_on_eight_devices():
  rows = json.loads((RESULTS / "compiled" / "compiled.json").read_text())["rows"]
  assert {row["target"] for row in rows} == set(targets.TARGETS)
  for row in rows:
    for name, program in row["programs"].items():
      assert program["eight_devices"]["moves"] == {}, (row["target"], name)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--for"], "--for, "),
    (["--networks"], "--networks and"),
    (["--networks", "resnet57"], "no network 'resnet57'"),
    (["--batches", "-1"], "--batches must not be"),
  ],
)
def test_nonsense_is_refused(flags, message, tmp_path, monkeypatch):
  command = ["benchmark", *flags, "--out", str(tmp_path / "out")]
  monkeypatch.setattr(sys, "argv", command)
  with pytest.raises(SystemExit, match=message):
    compiled.main()
  assert not (tmp_path / "out").exists()


def test_a_part_does_not_replace_the_whole(monkeypatch):
  monkeypatch.setattr(sys, "argv", ["benchmark", "--for", "cpu"])
  with pytest.raises(SystemExit, match="with --out"):
    compiled.main()


def test_what_a_compiler_lacks_is_said(monkeypatch, capsys):
  monkeypatch.setattr(targets.importlib.util, "find_spec", lambda _: None)
  monkeypatch.setattr(sys, "argv", ["benchmark", "--for", "h100", "v5e"])
  with pytest.raises(SystemExit, match="no target left"):
    compiled.main()
  h100, v5e = capsys.readouterr().out.splitlines()
  assert h100.startswith("h100 is left out")
  assert f"'jax-cuda12-plugin=={jax.__version__}'" in h100
  assert f"pip install 'jax[tpu]=={jax.__version__}'" in v5e
  assert targets.missing("cpu") is None


def test_params_are_split_along_the_longest_axis_that_can_be():
  mesh = jax.sharding.AbstractMesh((8,), ("shard",))

  def axes(*shape: int) -> tuple[str | None, ...]:
    place = targets.place(shape, cast(jax.sharding.Mesh, mesh))
    return tuple(cast(jax.sharding.NamedSharding, place).spec)

  assert axes(3, 3, 16, 32) == (None, None, None, "shard")
  assert axes(64, 10) == ("shard", None)
  assert axes(7, 7, 3, 4) == (None,) * 4
  assert axes() == ()


def test_the_h100_is_the_one_that_its_text_describes():
  text = targets.H100.read_text()
  assert "core_count: 132" in text
  assert math.isclose(80, 84942979072 / 2**30, rel_tol=0.02)
