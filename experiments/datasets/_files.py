"""Files of data sets: where they are, and what is in them, read within bounds.

Whatever is wrong becomes a `DataError` of one sentence that says what to do.
"""

import dataclasses
import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Sequence
from pathlib import Path

import pooch

from experiments.datasets.dataset import DataError

# A gzip file is longer than its content only by headers: a kilobyte or so.
GZIP_MARGIN = 2**16
# Bytes to expand at once: at one go the content would be in memory three times.
CHUNK = 2**18


@dataclasses.dataclass(frozen=True)
class DataFile:
  """A file of a data set, which may lie there plain or gzipped.

  Attributes:
    dataset: the data set's name, for sentences.
    name: the plain file's name; the gzipped one's ends in ``.gz``.
    md5: of the content.
    size: of the content, in bytes.
  """

  dataset: str
  name: str
  md5: str
  size: int


def reason(error: BaseException) -> str:
  """What went wrong, in the operating system's words and without a path."""
  return getattr(error, "strerror", None) or str(error) or type(error).__name__


# Where the files are.


def data_folder(data_dir: Path | None, cached: str) -> Path:
  """The folder to look in: `data_dir`, or `cached` in the user's cache.

  Raises:
    DataError: if `data_dir` is not a folder that can be looked at.
  """
  if data_dir is None:
    return pooch.os_cache("gsm_optax") / cached
  try:
    mode = os.stat(data_dir).st_mode
    problem = None if stat.S_ISDIR(mode) else "is not a folder"
  except FileNotFoundError:
    problem = "does not exist"
  except ValueError:  # a NUL byte, or a character that the file system has not
    problem = "has a name that no folder can have"
  except OSError as error:
    problem = f"cannot be read ({reason(error)})"
  if problem:
    raise DataError(
      f"The data folder {str(data_dir)!r} {problem}: name the folder where the files"
      " are with --data-dir."
    )
  return data_dir


def locate(folders: Sequence[Path], file: DataFile) -> Path | None:
  """Where `file` is: in the first folder that has it, plain rather than gzipped.

  Raises:
    DataError: if something else is in its place, or a folder cannot be looked at.
  """
  obstacle = None
  for folder in folders:
    for path in (folder / file.name, folder / f"{file.name}.gz"):
      mode = _mode(path)
      if mode is not None and stat.S_ISREG(mode):
        return path
      if mode is not None:
        obstacle = path
  if obstacle is not None:
    raise DataError(
      f"{obstacle} is not a file: put {file.dataset}'s file of that name in its place."
    )
  return None


def _mode(path: Path) -> int | None:
  try:
    return path.stat().st_mode
  except (FileNotFoundError, NotADirectoryError):
    return None
  except OSError as error:
    raise DataError(
      f"{path} cannot be read ({reason(error)}): make its folder readable, or name"
      " another with --data-dir."
    ) from error


def locate_all(folders: Sequence[Path], files: Sequence[DataFile]) -> list[Path]:
  """Where `files` are.

  Raises:
    DataError: as `locate`, and if any are missing.
  """
  found = [locate(folders, file) for file in files]
  missing = [f"{f.name}[.gz]" for f, path in zip(files, found, strict=True) if not path]
  if missing:
    raise DataError(
      f"{files[0].dataset} is not complete in {folders[0]}: it lacks"
      f" {', '.join(missing)}."
    )
  return [path for path in found if path]


# What is in them.


def refusal(path: Path, file: DataFile, problem: str) -> DataError:
  """The error that says that the file at `path` is not `file`."""
  return DataError(
    f"{path} {problem}: replace it with {file.dataset}'s {file.name}, whose MD5"
    f" unzipped is {file.md5}."
  )


def read_bounded(path: Path, file: DataFile) -> bytes:
  """The content of a plain or gzipped file: at most ``file.size`` bytes, unchecked.

  Raises:
    DataError: if it cannot be read, or there would be more.
  """
  try:
    if path.suffix == ".gz":
      content = gunzip(path, file.size)
    else:
      length = path.stat().st_size
      if length > file.size:
        raise refusal(path, file, f"is of {length} bytes instead of {file.size}")
      with path.open("rb") as stream:
        content = stream.read(file.size + 1)
  except PermissionError as error:
    raise DataError(
      f"{path} cannot be read ({reason(error)}): make it readable."
    ) from error
  except (OSError, EOFError, zlib.error) as error:
    raise refusal(path, file, f"cannot be read ({reason(error)})") from error
  if len(content) > file.size:
    raise refusal(path, file, f"expands to more than {file.size} bytes")
  return content


def gunzip(path: Path, limit: int) -> bytes:
  """The content of a gzip file, cut after `limit` + 1 bytes.

  No more than that and a small buffer is expanded, however much the file, of one
  member or of several, would hold. A member's checksum is checked where it ends.

  Raises:
    OSError, EOFError, zlib.error: if it cannot be read, or is not a gzip file.
  """
  length = path.stat().st_size
  # Members without content, and zeros behind the last, would be read for ever.
  if length > 2 * limit + GZIP_MARGIN:
    raise gzip.BadGzipFile(f"{length} bytes are too many for {limit} zipped ones")
  content = io.BytesIO()
  with gzip.open(path) as stream:
    while chunk := stream.read(min(CHUNK, limit + 1 - content.tell())):
      content.write(chunk)
  return content.getvalue()


def check_content(path: Path, file: DataFile, content: bytes) -> None:
  """Refuses `content` if it is not that of `file`.

  Raises:
    DataError: naming `path`, where it was read.
  """
  if len(content) != file.size:
    raise refusal(path, file, f"is of {len(content)} bytes instead of {file.size}")
  if hashlib.md5(content, usedforsecurity=False).hexdigest() != file.md5:
    raise refusal(path, file, "is a well-formed file with other content")
