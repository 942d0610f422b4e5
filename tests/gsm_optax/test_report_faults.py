"""What `python -m gsm_optax report` says of files that are none, or not as expected."""

import json
import os
import shutil
import struct
import subprocess
import sys

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from report_output import error, output

import gsm_optax
from experiments.run.weights import save_weights
from gsm_optax.report import main

PARAMS = {"kernel": jnp.eye(4, 6), "bias": jnp.ones(6)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  folder = tmp_path_factory.mktemp("checkpoints") / "params"
  save_weights(folder, PARAMS)
  return folder


@pytest.fixture
def copy(checkpoint, tmp_path):
  return shutil.copytree(checkpoint, tmp_path / "copy")


def write_safetensors(path, **tensors):
  """A file of tensors, each given as its type, its shape, and its bytes."""
  header, content = {}, b""
  for name, (dtype, shape, data) in tensors.items():
    offsets = [len(content), len(content) + len(data)]
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    content += data
  text = json.dumps(header).encode()
  text += b" " * (-len(text) % 8)
  path.write_bytes(struct.pack("<Q", len(text)) + text + content)
  return path


def needs_newer_types(dtype):
  """Older versions of safetensors know two types of eight bits, and none of fewer."""
  if dtype not in ("F8_E4M3", "F8_E5M2"):
    pytest.importorskip("safetensors", minversion="0.8")


@pytest.mark.parametrize(
  ("dtype", "one"),
  [
    *(("F8_E4M3", 0x38), ("F8_E5M2", 0x3C), ("F8_E4M3FNUZ", 0x40)),
    *(("F8_E5M2FNUZ", 0x40), ("F4", 0x02)),
  ],
)
def test_types_of_eight_and_four_bits(capsys, tmp_path, dtype, one):
  needs_newer_types(dtype)
  codes = np.zeros(32, np.uint8)
  codes[[3, 8, 31]] = one
  codes[4] = {"F4": 0x08, "F8_E4M3": 0x80, "F8_E5M2": 0x80}.get(dtype, 0)  # -0.0
  data = codes if dtype != "F4" else codes[::2] | codes[1::2] << 4
  path = write_safetensors(tmp_path / "a", w=(dtype, [4, 8], data.tobytes()))
  found = json.loads(output(capsys, path, "--json"))
  assert found["layers"][0]["shape"] == [4, 8]
  assert found["kept"] == 3
  assert json.loads(output(capsys, path, "--json", "--density", "0.04"))["kept"] == 1


def test_scales_are_never_zero(capsys, tmp_path):
  needs_newer_types("F8_E8M0")
  path = write_safetensors(tmp_path / "a", w=("F8_E8M0", [2, 2], bytes([127] * 4)))
  assert json.loads(output(capsys, path, "--json"))["kept"] == 4


def test_types_of_six_bits(capsys, tmp_path):
  needs_newer_types("F6_E2M3")
  path = write_safetensors(tmp_path / "a", w=("F6_E2M3", [4, 8], bytes(24)))
  sentence = error(capsys, path)
  assert sentence == f"{path}: 'w' is of type F6_E2M3, which cannot be read."


def test_a_type_that_nobody_knows(capsys, tmp_path):
  path = write_safetensors(tmp_path / "a", w=("F7", [2, 2], bytes(16)))
  assert error(capsys, path).startswith(f"safetensors cannot read {path}: ")


def test_layers_of_65_axes(capsys, tmp_path):
  path = write_safetensors(tmp_path / "a", w=("F32", [1] * 65, bytes(4)))
  assert error(capsys, path) == f"{path}: 'w' has 65 axes, which cannot be read."


def test_a_file_of_save(capsys, tmp_path):
  tree = {
    "params": PARAMS,
    "other": {"kernel": np.zeros((2, 2))},
    "n": np.ones((2, 2), int),
  }
  gsm_optax.save(tmp_path / "a.npz", tree)
  expected = str(gsm_optax.sparsity_report(PARAMS))
  assert output(capsys, tmp_path / "a.npz") == expected
  data = json.loads(output(capsys, tmp_path / "a.npz", "--json", "--key", "other"))
  assert data["kept"] == 0
  content = (tmp_path / "a.npz").read_bytes()
  (tmp_path / "a.npz").write_bytes(content[:100] + b"!!" + content[102:])
  assert f"'{tmp_path / 'a.npz'}' is no file of" in error(capsys, tmp_path / "a.npz")
  np.savez(tmp_path / "b.npz", kernel=np.ones((2, 2)))
  assert f"'{tmp_path / 'b.npz'}' is no file of" in error(capsys, tmp_path / "b.npz")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="as root")
def test_what_may_not_be_read(capsys, tmp_path):
  (tmp_path / "folder").mkdir()
  file = write_safetensors(tmp_path / "a", w=("F32", [2, 2], bytes(16)))
  for path in (file, tmp_path / "folder"):
    path.chmod(0)
    assert error(capsys, path) == f"{path} cannot be read: Permission denied."
    path.chmod(0o700)


def test_what_may_not_be_read_whoever_asks(capsys, monkeypatch, tmp_path):
  def denied(path, *_, **__):
    raise PermissionError(13, "Permission denied", str(path))

  file = write_safetensors(tmp_path / "a", w=("F32", [2, 2], bytes(16)))
  monkeypatch.setattr(type(tmp_path), "stat", denied)
  assert error(capsys, file) == f"{file} cannot be read: Permission denied."


def test_pipes_and_devices(capsys, tmp_path, copy):
  os.mkfifo(tmp_path / "pipe")
  for path in (tmp_path / "pipe", "/dev/null", "/dev/zero"):
    assert error(capsys, path).startswith(f"{path} is neither an Orbax checkpoint")
  os.mkfifo(copy / "pipe")
  assert error(capsys, copy) == f"{copy / 'pipe'} is no ordinary file."


@pytest.mark.parametrize(
  "content",
  [
    *("", "[]", "{}", "null", "3", '"a"', '{"tree_metadata": 3}', "\xff"),
    '{"tree_metadata": {"a": 3}}',
    '{"tree_metadata": {"a": {"key_metadata": 3, "value_metadata": {}}}}',
    '{"tree_metadata": {"a": {"key_metadata": [3], "value_metadata": []}}}',
    '{"tree_metadata": ' + "[" * 50_000,
  ],
)
def test_metadata_of_another_shape(capsys, copy, content):
  (copy / "_METADATA").write_text(content, encoding="latin-1")
  assert str(copy) in error(capsys, copy)


@pytest.mark.parametrize("name", ["²", "١", "-1", "1_0", "9" * 200])
def test_step_folders_with_odd_digits(capsys, checkpoint, tmp_path, name):
  shutil.copytree(checkpoint, tmp_path / "7" / "default")
  (tmp_path / name).mkdir()
  if name == "9" * 200:  # the last step indeed, with nothing in it
    assert error(capsys, tmp_path).startswith(f"{tmp_path} is neither")
  else:
    assert output(capsys, tmp_path) == str(gsm_optax.sparsity_report(PARAMS))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_file_of_a_checkpoint_cut_off(capsys, checkpoint, tmp_path):
  """A sentence that names the checkpoint, or the report, and nothing around it."""
  for number, file in enumerate(sorted(checkpoint.rglob("*"))):
    if file.is_file():
      damaged = shutil.copytree(checkpoint, tmp_path / str(number))
      place = damaged / file.relative_to(checkpoint)
      place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])
      main([str(damaged)])
      captured = capsys.readouterr()
      assert bool(captured.out) != bool(captured.err)
      if captured.err:
        assert str(damaged) in captured.err
        assert captured.err.count("\n") == 1
      else:
        assert captured.out == f"{gsm_optax.sparsity_report(PARAMS)}\n"


NASTY = "a\x1b[31mred\x1b]0;title\x07\rover\n[bold]é\u202e"


def test_names_never_reach_the_terminal_raw(capsys, tmp_path):
  data = ("F32", [2, 2], bytes(16))
  path = write_safetensors(tmp_path / "a", **{NASTY: data})
  printed = output(capsys, path)
  assert r"a\x1b[31mred\x1b]0;title\x07\rover\n[bold]é\u202e" in printed
  assert all(each.isprintable() for each in printed.split("\n"))
  (layer,) = json.loads(output(capsys, path, "--json"))["layers"]
  assert layer["path"] == NASTY
  sentence = error(capsys, path, "--key", "no\x1b[31m")
  assert sentence.isprintable()


def program(*arguments, **options):
  command = [sys.executable, "-m", "gsm_optax", *map(str, arguments)]
  return subprocess.run(
    *(command,),
    **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
  )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  path = tmp_path_factory.mktemp("saved") / "pruned.npz"
  gsm_optax.save(path, {"é": PARAMS})
  return path


def test_a_terminal_that_only_knows_ascii(saved):
  ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
  done = program("report", saved, env=ascii_only)
  assert (done.returncode, done.stderr) == (0, "")
  assert r"\xe9/kernel" in done.stdout
  assert "4 x 6" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
def test_output_that_cannot_be_written(saved):
  with open("/dev/full", "w") as full:
    done = program("report", saved, stdout=full)
  assert done.returncode == 1
  assert done.stderr == "The output cannot be written: No space left on device.\n"


def test_a_pipe_that_is_closed(saved):
  reading, writing = os.pipe()
  os.close(reading)
  done = program("report", saved, stdout=writing)
  os.close(writing)
  assert (done.returncode, done.stderr) == (1, "")


def test_the_program_offers_the_report(saved):
  done = program("report", saved)
  assert done.stdout == f"{gsm_optax.sparsity_report({'é': PARAMS})}\n"
  assert (done.returncode, done.stderr) == (0, "")
  done = program("--help")
  assert done.returncode == 0
  assert done.stdout.startswith("usage: python -m gsm_optax report PATH")
  for arguments in ((), ("shrink",), ("report",)):
    done = program(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: python -m gsm_optax report")


def test_two_leaves_of_one_name(capsys, tmp_path):
  tree = {"a/b": np.eye(3), "a": {"b": np.ones((2, 2))}}
  gsm_optax.save(tmp_path / "a.npz", tree)
  data = json.loads(output(capsys, tmp_path / "a.npz", "--json"))
  assert (data["size"], data["kept"]) == (13, 7)


@pytest.mark.parametrize(
  "dtype", ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "float6_e3m2fn"]
)
def test_narrow_types_in_a_file_of_save(capsys, tmp_path, dtype):
  array = np.eye(4).astype(getattr(ml_dtypes, dtype))
  if not jnp.issubdtype(array.dtype, np.number):
    pytest.skip("unknown to this version of JAX")
  gsm_optax.save(tmp_path / "a.npz", {"k": array})
  assert json.loads(output(capsys, tmp_path / "a.npz", "--json"))["kept"] == 4
  if dtype.startswith("float8"):
    assert gsm_optax.sparsity_report({"k": jnp.asarray(array)}).kept == 4
    mask = gsm_optax.magnitude_mask({"k": jnp.asarray(array)}, 0.25)
    np.testing.assert_array_equal(mask["k"], np.eye(4, dtype=bool))


def test_files_without_arrays(capsys, tmp_path):
  gsm_optax.save(tmp_path / "a.npz", {})
  assert error(capsys, tmp_path / "a.npz") == f"{tmp_path / 'a.npz'} holds no arrays."
  path = write_safetensors(tmp_path / "b")
  assert error(capsys, path) == f"{path} holds no arrays."


def test_standard_output_that_is_closed(saved):
  command = f'"{sys.executable}" -m gsm_optax report "{saved}" >&-'
  done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
  assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
def test_help_that_cannot_be_written():
  with open("/dev/full", "w") as full:
    done = program("--help", stdout=full)
  assert done.returncode == 1
  assert done.stderr == "The output cannot be written: No space left on device.\n"


def test_the_sentence_names_the_error(capsys, copy):
  (copy / "_METADATA").write_text("{}")
  assert error(capsys, copy) == f"Orbax cannot read {copy}: KeyError: 'tree_metadata'"
