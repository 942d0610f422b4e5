"""Files of data sets: every way in which they can be wrong is a sentence."""

import dataclasses
import errno
import gzip
import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest

from experiments.datasets import _files
from experiments.datasets._files import DataFile
from experiments.datasets.dataset import DataError

CONTENT = b"some content of a file"


def gzipped(content: bytes) -> bytes:
  """The same bytes at any time: they are part of a test's name."""
  return gzip.compress(content, mtime=0)


FILE = DataFile("Set", "file", hashlib.md5(CONTENT).hexdigest(), len(CONTENT))


def read(path):
  content = _files.read_bounded(path, FILE)
  _files.check_content(path, FILE, content)
  return content


def fails(error):
  def function(*_arguments, **_options):
    raise error

  return function


def is_a_sentence(message):
  text = str(message)
  return text.endswith(".") and "\n" not in text and ". " not in text


@pytest.mark.parametrize(
  ("name", "problem"),
  [
    ("absent", "does not exist"),
    ("a file", "is not a folder"),
    ("a file/below", r"cannot be read \(Not a directory\)"),
    ("x" * 5000, r"cannot be read \(File name too long\)"),
    ("a\x00b", "has a name that no folder can have"),
    ("\ud800", "has a name that no folder can have"),
  ],
)
def test_a_data_folder_that_is_none_is_refused(tmp_path, name, problem):
  (tmp_path / "a file").touch()
  with pytest.raises(DataError, match=problem) as error:
    _files.data_folder(tmp_path / name, "set")
  assert "--data-dir" in str(error.value)
  assert is_a_sentence(error.value)


def test_a_data_folder_that_may_not_be_looked_at_is_refused(tmp_path, monkeypatch):
  denied = fails(PermissionError(errno.EACCES, "Permission denied"))
  with monkeypatch.context() as context:
    context.setattr(os, "stat", denied)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
      _files.data_folder(tmp_path, "set")
  monkeypatch.setattr(Path, "stat", denied)
  with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)") as error:
    _files.locate([tmp_path], FILE)
  assert is_a_sentence(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_locked_data_folder_is_refused(tmp_path):
  folder = tmp_path / "locked"
  folder.mkdir(mode=0)
  with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
    _files.locate([folder], FILE)


def test_a_plain_file_goes_before_a_gzipped_one_and_a_folder_is_passed_over(tmp_path):
  inner = tmp_path / "inner"
  inner.mkdir()
  assert _files.locate([tmp_path, inner], FILE) is None
  (inner / "file.gz").touch()
  (tmp_path / "file").mkdir()
  assert _files.locate([tmp_path, inner], FILE) == inner / "file.gz"
  (inner / "file").touch()
  assert _files.locate([tmp_path, inner], FILE) == inner / "file"


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
  (tmp_path / "file").mkdir()
  with pytest.raises(DataError, match=r"file is not a file: put Set's") as error:
    _files.locate_all([tmp_path], [FILE])
  assert is_a_sentence(error.value)


def test_missing_files_are_named(tmp_path):
  (tmp_path / "file").touch()
  others = [DataFile("Set", name, "", 1) for name in ("one", "two")]
  with pytest.raises(DataError, match=r"it lacks one\[\.gz\], two\[\.gz\]\.$"):
    _files.locate_all([tmp_path], [FILE, *others])


@pytest.mark.parametrize(
  ("name", "content"),
  [
    ("file", CONTENT),
    ("file.gz", gzipped(CONTENT)),
    ("file.gz", gzipped(CONTENT[:5]) + gzipped(CONTENT[5:])),
    ("file.gz", gzipped(CONTENT) + bytes(100)),  # padded
  ],
)
def test_a_file_is_read_plain_and_gzipped(tmp_path, name, content):
  (tmp_path / name).write_bytes(content)
  assert read(tmp_path / name) == CONTENT


@pytest.mark.parametrize(
  ("name", "content", "problem"),
  [
    ("file", CONTENT[:-1], "is of 21 bytes instead of 22"),
    ("file", CONTENT + b"x", "is of 23 bytes instead of 22"),
    ("file", CONTENT.upper(), "other content"),
    ("file.gz", gzipped(CONTENT[:-1]), "is of 21 bytes instead of 22"),
    ("file.gz", gzipped(CONTENT.upper()), "other content"),
    ("file.gz", gzipped(CONTENT + b"x"), "expands to more than 22 bytes"),
    ("file.gz", gzipped(CONTENT) * 2, "expands to more than 22 bytes"),
    ("file.gz", gzipped(CONTENT) + b"garbage", "cannot be read"),
    ("file.gz", gzipped(CONTENT)[:-4], "cannot be read"),
    ("file.gz", CONTENT, "cannot be read"),
    ("file.gz", b"", "is of 0 bytes"),
  ],
)
def test_a_file_with_other_content_is_refused(tmp_path, name, content, problem):
  path = tmp_path / name
  path.write_bytes(content)
  with pytest.raises(DataError, match=problem) as error:
    read(path)
  assert str(path) in str(error.value)
  assert f"replace it with Set's file, whose MD5 unzipped is {FILE.md5}." in str(
    error.value
  )
  assert is_a_sentence(error.value)


@pytest.mark.parametrize("members", [1, 300])
def test_a_gzip_bomb_is_not_expanded(tmp_path, members):
  file = dataclasses.replace(FILE, size=2**20)
  path = tmp_path / "file.gz"
  path.write_bytes(gzipped(bytes(300 * 2**20 // members)) * members)
  tracemalloc.start()
  try:
    with pytest.raises(DataError, match="expands to more than 1048576 bytes"):
      _files.read_bounded(path, file)
    assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
  finally:
    tracemalloc.stop()


@pytest.mark.parametrize("filling", [bytes(1), gzipped(b"")])
def test_endless_padding_and_empty_members_are_not_read(tmp_path, filling):
  path = tmp_path / "file.gz"
  path.write_bytes(gzipped(CONTENT) + filling * (2 * _files.GZIP_MARGIN))
  with pytest.raises(DataError, match="bytes are too many for 22 zipped ones"):
    read(path)


def test_a_plain_file_that_is_too_long_is_not_read(tmp_path, monkeypatch):
  path = tmp_path / "file"
  with path.open("wb") as stream:
    stream.truncate(2**40)  # sparse
  monkeypatch.setattr(Path, "open", fails(AssertionError("it is read")))
  with pytest.raises(DataError, match="is of 1099511627776 bytes instead of 22"):
    read(path)


def test_a_file_that_may_not_be_read_is_said_to_be_so(tmp_path, monkeypatch):
  (tmp_path / "file").write_bytes(CONTENT)
  monkeypatch.setattr(
    Path, "open", fails(PermissionError(errno.EACCES, "Permission denied"))
  )
  with pytest.raises(DataError, match=r"\(Permission denied\): make it readable\."):
    read(tmp_path / "file")


def test_an_error_of_the_disk_is_a_sentence(tmp_path, monkeypatch):
  (tmp_path / "file").write_bytes(CONTENT)
  monkeypatch.setattr(Path, "open", fails(OSError(errno.EIO, "Input/output error")))
  with pytest.raises(DataError, match=r"cannot be read \(Input/output error\)"):
    read(tmp_path / "file")
