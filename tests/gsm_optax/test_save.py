"""Params come back from their files bit by bit, and from no other file."""

import json
import os
import stat
import zipfile
from collections import OrderedDict
from typing import NamedTuple

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gsm_optax import apply_mask, load, magnitude_mask, save

DTYPES = [
  *(np.float16, np.float32, np.float64, np.complex64, np.int8, np.uint64, np.bool_),
  *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2),
  *(ml_dtypes.int4, ml_dtypes.float8_e8m0fnu, ml_dtypes.float4_e2m1fn),
]

REFUSAL = r"is no file of `gsm_optax\.save`, or it is damaged"


@pytest.fixture
def path(tmp_path):
  return tmp_path / "pruned.npz"


def assert_same_bits(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    assert isinstance(a, np.ndarray)
    b = np.asarray(b)
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (7,), (5, 3, 2)])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_every_type(path, dtype, shape, share):
  size = int(np.prod(shape))
  rng = np.random.default_rng(0)
  array = rng.integers(0, 2, size).astype(dtype)
  array = np.where(rng.random(size) < share, array, np.zeros(1, dtype))
  tree = {"leaf": array.astype(dtype).reshape(shape)}
  save(path, tree)
  assert_same_bits(load(path), tree)


@settings(max_examples=200, deadline=None)
@given(
  bits=hnp.arrays(
    np.uint32, hnp.array_shapes(min_side=0), elements=st.integers(0, 2**32 - 1)
  ),
  fill=st.sampled_from([0, 0x80000000, 0x7FC00001, 0x7F800001, 1]),
)
def test_every_bit(tmp_path_factory, bits, fill):
  path = tmp_path_factory.getbasetemp() / "bits.npz"
  many = np.full((4, 50), fill, np.uint32)
  tree = {"few zeros": bits.view(np.float32), "all alike": many.view(np.float32)}
  save(path, tree)
  assert_same_bits(load(path), tree)


TREES = [
  np.arange(3.0),
  None,
  {},
  (),
  {"a": {}, "b": None, "c": [np.ones(2), (np.zeros(3), [])]},
  {3: np.ones(2), 1: (np.zeros(2),)},
  OrderedDict(b=np.ones(2), a=np.zeros(3)),
  {"": np.ones(1), "a/b": np.ones(2), "a": {"b": np.ones(3)}, "é\n..": np.ones(4)},
]


@pytest.mark.parametrize("tree", TREES, ids=range(len(TREES)))
def test_every_tree(path, tree):
  save(path, tree)
  assert_same_bits(load(path), tree)


class Pair(NamedTuple):
  a: object
  b: object


def test_other_containers(path):
  model = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
  module = eqx.nn.MLP(4, 2, 8, 1, key=jax.random.key(0))
  trees = {
    "test_save.Pair": Pair(jnp.ones(3), {"b": jnp.zeros(2)}),
    "State": nnx.state(model, nnx.Param),
    "MLP": eqx.filter(module, eqx.is_array),
  }
  for name, tree in trees.items():
    save(path, tree)
    with pytest.raises(ValueError, match=rf"saved in a .*{name}.*give `load`"):
      load(path)
    assert_same_bits(load(path, tree), tree)
    assert_same_bits(load(path, jax.eval_shape(lambda tree=tree: tree)), tree)


@pytest.mark.parametrize(
  ("like", "message"),
  [
    ({"a": np.zeros((2, 3))}, r"'b', float32 \(4,\), is in the file alone"),
    (
      {"a": np.zeros((2, 3)), "b": np.zeros(4, np.float16)},
      r"'b', float16 \(4,\), is in `like` alone",
    ),
    (
      {"a": np.zeros((3, 2)), "b": np.zeros(4, np.float32)},
      r"'a', float64 \(2, 3\), is in the file alone",
    ),
    ({"a": 1.0, "b": np.zeros(4, np.float32)}, r"'a'"),
  ],
)
def test_another_tree_than_the_file_has(path, like, message):
  save(path, {"a": np.zeros((2, 3)), "b": np.zeros(4, np.float32)})
  with pytest.raises(ValueError, match=f"`like` must have the leaves.*{message}"):
    load(path, like)


def test_orders_of_ordered_dicts(path):
  tree = OrderedDict(b=np.ones(2), a=np.zeros(3))
  save(path, tree)
  other = OrderedDict(a=np.zeros(3), b=np.ones(2))
  assert_same_bits(load(path, other), other)
  assert_same_bits(load(path, dict(other)), dict(other))


def test_big_endian_and_strided_arrays(path):
  array = np.arange(24.0).reshape(4, 6)
  save(path, {"big": array.astype(">f4"), "strided": array[::2, ::-3], "t": array.T})
  loaded = load(path)
  np.testing.assert_array_equal(loaded["big"], array)
  np.testing.assert_array_equal(loaded["strided"], array[::2, ::-3])
  np.testing.assert_array_equal(loaded["t"], array.T)


def test_zeros_take_next_to_no_room(path):
  params = {"kernel": jax.random.normal(jax.random.key(0), (400, 250))}
  save(path, params)
  assert path.stat().st_size < 1.01 * 400_000
  save(path, apply_mask(params, magnitude_mask(params, 0.01)))
  # 4 bytes for each of 1,000 weights, and the entropy of where they are, 1,010 bytes.
  assert path.stat().st_size < 6_500


def test_numpy_alone_reads_it(path):
  params = {"kernel": jnp.arange(-3.0, 7.0).reshape(2, 5), "b": jnp.zeros((20, 9))}
  save(path, params)
  with np.load(path, allow_pickle=False) as file:
    header = json.loads(file["gsm_optax"].tobytes())
    leaves = {}
    for number, leaf in enumerate(header["leaves"]):
      array = file[str(number)]
      if leaf["has_mask"]:
        size = int(np.prod(leaf["shape"]))
        mask = np.unpackbits(file[f"{number}.mask"], count=size).astype(bool)
        values, array = array, np.zeros(size, array.dtype)
        array[mask] = values
      leaves[leaf["name"]] = array.reshape(leaf["shape"])
  assert_same_bits(leaves, params)


@pytest.mark.parametrize(
  ("leaf", "message"),
  [
    (1.0, "'a' is float"),
    ("word", "'a' is str"),
    (np.array(["word"]), "'a' is of <U4"),
    (np.array([None]), "'a' is of object"),
    (jax.random.key(0), "'a' is of key"),
  ],
)
def test_what_is_no_array(path, leaf, message):
  with pytest.raises(ValueError, match=f"The leaf {message}"):
    save(path, {"a": leaf})
  assert not path.exists()


def test_keys_that_json_does_not_know(path):
  with pytest.raises(ValueError, match=r"A dict with the key 1\.5"):
    save(path, {1.5: np.ones(2)})


def test_a_file_is_whole_or_not_there(path, monkeypatch):
  save(path, {"a": np.ones(3)})
  before = path.read_bytes()

  def full(*_, **__):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "replace", full)
  with pytest.raises(OSError, match="No space left"):
    save(path, {"a": np.zeros(3)})
  assert path.read_bytes() == before
  assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_others_may_read_it_as_any_new_file(path):
  save(path, {"a": np.ones(3)})
  plain = path.with_name("plain")
  plain.touch()
  assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  path = tmp_path_factory.mktemp("whole") / "pruned.npz"
  tree = {"kernel": np.eye(6, dtype=np.float32), "bias": np.arange(3.0)}
  save(path, tree)
  return path.read_bytes(), tree


def test_a_file_that_is_cut_off(path, whole):
  content, _ = whole
  for length in range(len(content)):
    path.write_bytes(content[:length])
    with pytest.raises(ValueError, match=REFUSAL):
      load(path)


def test_a_file_in_which_a_byte_is_another(path, whole):
  """It is refused, or, where the byte says nothing (a date), read as it was."""
  content, tree = whole
  refused = 0
  for place in range(len(content)):
    altered = bytearray(content)
    altered[place] ^= 1 << place % 8
    path.write_bytes(altered)
    try:
      loaded = load(path)
    except ValueError as error:
      assert "is no file of `gsm_optax.save`" in str(error)  # noqa: PT017
      refused += 1
    else:
      assert_same_bits(loaded, tree)
  assert refused > len(content) / 2


def crafted(path, header, **arrays):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  np.savez_compressed(path, gsm_optax=np.frombuffer(text, np.uint8), **arrays)


def header(**changes):
  leaf = {"name": "a", "dtype": "float32", "shape": [2], "has_mask": False}
  leaf |= {k: v for k, v in changes.items() if k in leaf}
  rest = {k: v for k, v in changes.items() if k not in leaf}
  return {"version": 1, "tree": {"dict": [["a", 0]]}, "leaves": [leaf], **rest}


CRAFTED = [
  b"{",
  b"[]",
  b"null",
  b"\xff",
  {},
  header(leaves=3),
  header(leaves=[[]]),
  header(shape=[3]),
  header(shape=[-2]),
  header(shape=[1 << 62, 1 << 62]),
  header(shape=["2"]),
  header(shape=2),
  header(dtype="object"),
  header(dtype="float64"),
  header(dtype="V8"),
  header(dtype="no such"),
  header(dtype=None),
  header(has_mask=True),
  header(tree={"dict": [["a", 7]]}),
  header(tree={"dict": [["a"]]}),
  header(tree={"dict": 3}),
  header(tree={}),
  header(tree="a"),
  header(tree={"list": [0], "dict": []}),
  json.dumps(header()).replace("0]]", "[" * 50_000).encode(),
]


@pytest.mark.parametrize("described", CRAFTED, ids=range(len(CRAFTED)))
def test_crafted_headers(path, described):
  crafted(path, described, **{"0": np.ones(2, np.float32)})
  with pytest.raises(ValueError, match=REFUSAL):
    load(path)


def test_a_crafted_header_that_is_right(path):
  crafted(path, header(), **{"0": np.ones(2, np.float32)})
  chex.assert_trees_all_equal(load(path), {"a": np.ones(2, np.float32)})


def test_nothing_is_unpickled(path):
  class Trap:
    def __reduce__(self):
      return (os.mkdir, (str(path) + ".trap",))

  array = np.empty(2, object)
  array[:] = Trap()
  crafted(path, header(), **{"0": array})
  with pytest.raises(ValueError, match=REFUSAL):
    load(path)
  assert not os.path.exists(f"{path}.trap")


def test_an_array_that_would_fill_the_memory(path):
  crafted(path, header(), **{"0": np.zeros(10_000_000, np.float32)})
  with pytest.raises(ValueError, match="the array '0' has 40000128 bytes"):
    load(path)


def test_a_later_version(path):
  crafted(path, header(version=2), **{"0": np.ones(2, np.float32)})
  with pytest.raises(ValueError, match="it has version 2 of the format"):
    load(path)


def test_files_of_others(path):
  with pytest.raises(FileNotFoundError):
    load(path)
  for content in (b"", b"hello", b"PK\x05\x06" + bytes(18)):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=REFUSAL):
      load(path)
  np.savez(path, a=np.ones(3))
  with pytest.raises(ValueError, match=REFUSAL):
    load(path)
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("gsm_optax.npy", b"\x93NUMPY")
  with pytest.raises(ValueError, match=REFUSAL):
    load(path)
  with pytest.raises(IsADirectoryError):
    load(path.parent)


def test_paths_of_every_kind(path):
  tree = {"a": np.ones(3)}
  for kind in (str, os.fsencode, type(path)):
    save(kind(path), tree)
    assert_same_bits(load(kind(path)), tree)


def test_a_folder_that_is_not_there(path):
  with pytest.raises(FileNotFoundError, match=r"'.*/no/pruned\.npz'"):
    save(path.parent / "no" / "pruned.npz", {"a": np.ones(3)})


def test_a_long_name(tmp_path):
  save(tmp_path / ("x" * 250), {"a": np.ones(3)})


def test_a_link_is_followed_and_a_private_file_stays_private(path):
  target, tree = path.with_name("target"), {"a": np.ones(3)}
  target.touch(mode=0o600)
  path.symlink_to(target)
  save(path, tree)
  assert path.is_symlink()
  assert_same_bits(load(target), tree)
  assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="none longer")
@pytest.mark.parametrize("dtype", [np.longdouble, np.clongdouble])
def test_types_that_are_not_the_same_everywhere(path, dtype):
  with pytest.raises(ValueError, match="The leaf 'a' is of"):
    save(path, {"a": np.ones(2, dtype)})


def test_shapes_without_values(path):
  with pytest.raises(ValueError, match="The leaf 'a' is ShapeDtypeStruct"):
    save(path, {"a": jax.ShapeDtypeStruct((2,), np.float32)})
