"""What is downloaded and unpacked, and what is said when it cannot be."""

import errno
import gzip
import hashlib
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import pooch
import pytest

from experiments.datasets import _download
from experiments.datasets._files import DataFile
from experiments.datasets.dataset import DataError

CONTENT = b"some content of a file"
FILE = DataFile("Set", "file", hashlib.md5(CONTENT).hexdigest(), len(CONTENT))

# After a refused download pooch leaves its connection to the garbage collector.
leaves_connections = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning"
)


def fails(error):
  def function(*_arguments, **_options):
    raise error

  return function


def is_a_sentence(message):
  text = str(message)
  return text.endswith(".") and "\n" not in text and ". " not in text


def fetch(folder, urls=("http://127.0.0.1:9/file",)):
  return _download.download(urls, FILE.md5, folder, "Set", ["file"])


def test_a_file_is_downloaded_once(tmp_path, serve):
  served = tmp_path / "served"
  served.mkdir()
  (served / "file").write_bytes(CONTENT)
  path = fetch(tmp_path / "a" / "b", [f"{serve(served)}file"])
  assert path.read_bytes() == CONTENT
  assert fetch(tmp_path / "a" / "b") == path


@leaves_connections
def test_a_server_that_is_not_there_is_a_sentence(tmp_path):
  with pytest.raises(DataError, match=r"could not be downloaded \(Conn") as error:
    fetch(tmp_path)
  assert is_a_sentence(error.value)


def test_a_file_in_place_of_the_cache_is_a_sentence(tmp_path):
  (tmp_path / "cache").touch()
  for folder in (tmp_path / "cache", tmp_path / "cache" / "set"):
    with pytest.raises(DataError, match=r"cannot be written to .*: make") as error:
      fetch(folder)
    assert "--data-dir" in str(error.value)
    assert is_a_sentence(error.value)


def test_a_folder_in_place_of_the_download_is_a_sentence(tmp_path):
  (tmp_path / "file").mkdir()
  with pytest.raises(DataError, match=r"cannot be written to .*Is a directory"):
    fetch(tmp_path)


@pytest.mark.parametrize(
  ("owner", "name"),
  [(Path, "mkdir"), (_download.tempfile, "TemporaryFile"), (pooch, "retrieve")],
)
@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_cache_that_cannot_be_written_is_a_sentence(
  tmp_path, monkeypatch, owner, name, number
):
  monkeypatch.setattr(owner, name, fails(OSError(number, os.strerror(number))))
  with pytest.raises(DataError, match=os.strerror(number)) as error:
    fetch(tmp_path / "cache")
  assert str(tmp_path / "cache") in str(error.value)
  assert is_a_sentence(error.value)


def write_tar(path, members, mode="w:gz"):
  """Writes an archive of `members`: `TarInfo` or names, with their contents."""
  with tarfile.open(path, mode) as tar:
    for info, content in members:
      if isinstance(info, str):
        info = tarfile.TarInfo(info)
        info.size = len(content)
      tar.addfile(info, io.BytesIO(content))
  return path


def link(name, target):
  info = tarfile.TarInfo(name)
  info.type, info.linkname = tarfile.SYMTYPE, target
  return info, b""


def test_only_the_wanted_members_are_unpacked(tmp_path):
  members = [
    ("inner/other", b"other"),
    ("inner/file", CONTENT),
    ("inner/../file", b"a" * len(CONTENT)),
    ("file", b"b" * len(CONTENT)),
    ("../file", b"c" * len(CONTENT)),
    (str(tmp_path / "absolute"), b"d"),
  ]
  archive = write_tar(tmp_path / "set.tar.gz", members)
  _download.unpack(archive, "inner", [FILE], tmp_path / "out")
  assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]
  assert (tmp_path / "out" / "file").read_bytes() == CONTENT
  assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "set.tar.gz"]


@pytest.mark.parametrize(
  "member",
  [link("inner/file", "/etc/passwd"), ("inner/file", CONTENT * 2), ("file", CONTENT)],
)
def test_links_and_members_of_another_size_or_place_are_not_unpacked(tmp_path, member):
  archive = write_tar(tmp_path / "set.tar.gz", [member])
  _download.unpack(archive, "inner", [FILE], tmp_path / "out")
  assert not list((tmp_path / "out").iterdir())


def test_a_link_in_the_cache_is_replaced_not_followed(tmp_path):
  archive = write_tar(tmp_path / "set.tar.gz", [("inner/file", CONTENT)])
  outside = tmp_path / "outside"
  outside.write_text("mine")
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "file").symlink_to(outside)
  _download.unpack(archive, "inner", [FILE], tmp_path / "out")
  assert outside.read_text() == "mine"
  assert (tmp_path / "out" / "file").read_bytes() == CONTENT


def test_an_archive_that_is_a_bomb_is_not_expanded(tmp_path):
  archive = write_tar(tmp_path / "set.tar.gz", [("inner/bomb", bytes(100 * 2**20))])
  tracemalloc.start()
  try:
    with pytest.raises(DataError, match="cannot be unpacked: remove it"):
      _download.unpack(archive, "inner", [FILE], tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
  finally:
    tracemalloc.stop()


@pytest.mark.parametrize(
  "change",
  [
    lambda content: content[: len(content) // 2],
    lambda content: b"no archive" + content,
    lambda _: gzip.compress(b"no archive" * 100),
    lambda content: gzip.compress(gzip.decompress(content)[:520]),
  ],
)
def test_a_damaged_archive_is_refused(tmp_path, change):
  archive = write_tar(tmp_path / "set.tar.gz", [("inner/file", CONTENT)])
  archive.write_bytes(change(archive.read_bytes()))
  with pytest.raises(DataError, match="cannot be unpacked: remove it") as error:
    _download.unpack(archive, "inner", [FILE], tmp_path / "out")
  assert is_a_sentence(error.value)


def test_a_full_disk_leaves_no_part_of_a_file(tmp_path, monkeypatch):
  archive = write_tar(tmp_path / "set.tar.gz", [("inner/file", CONTENT)])
  full = fails(OSError(errno.ENOSPC, "No space left on device"))
  monkeypatch.setattr(Path, "replace", full)
  with pytest.raises(DataError, match=r"written to .* \(No space left on device\)"):
    _download.unpack(archive, "inner", [FILE], tmp_path / "out")
  assert not list((tmp_path / "out").iterdir())
