"""Files of data sets: downloaded into the user's cache, and unpacked there."""

import contextlib
import gzip
import io
import os
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pooch

from experiments.datasets._files import DataFile, gunzip, reason
from experiments.datasets.dataset import DataError

# What a tar archive has besides the content of the files that are wanted.
TAR_MARGIN = 2**20


class Archive(NamedTuple):
  """A ``.tar.gz`` of the files of a data set.

  Attributes:
    urls: where to download it from, in the order in which to try.
    md5: of the archive.
    inner: the one folder in it.
  """

  urls: Sequence[str]
  md5: str
  inner: str


def download(
  urls: Sequence[str], md5: str, folder: Path, dataset: str, names: Sequence[str]
) -> Path:
  """Downloads a file, unless `folder` has it already, and gives its path.

  Args:
    urls: of the same file under the same name, in the order in which to try.
    md5: of the file.
    folder: where to; it is made.
    dataset: the data set's name, for the sentence.
    names: the files to get by other means if this fails.

  Raises:
    DataError: if no server has it, or the folder cannot be written.
  """
  failure = None
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
    for url in urls:
      try:
        name = url.rpartition("/")[-1]
        return Path(pooch.retrieve(url, f"md5:{md5}", name, folder))
      except (OSError, ValueError) as error:  # no connection; another checksum
        # Only what comes from the operating system has a number: a full disk.
        if isinstance(error, OSError) and error.errno is not None:
          raise
        failure = error
  except OSError as error:
    raise _unwritable(dataset, folder, error) from error
  raise DataError(
    f"{dataset} could not be downloaded ({type(failure).__name__}): put its files"
    f" {', '.join(names)} into {folder}, or name the folder where they are with"
    " --data-dir."
  ) from failure


def _unwritable(dataset: str, folder: Path, error: OSError) -> DataError:
  return DataError(
    f"{dataset} cannot be written to {folder} ({reason(error)}): make that folder"
    " writable, with room for it, or name the one where its files are with --data-dir."
  )


def unpack(path: Path, inner: str, files: Sequence[DataFile], folder: Path) -> None:
  """Writes to `folder` those of `files` that a gzipped tar archive has in `inner`.

  No name in the archive becomes a path: its members are compared with the names that
  are wanted, and the others, links and members of another size are passed over. No
  more is expanded than the files hold and a margin.

  Raises:
    DataError: if the archive is damaged or too large, or a file cannot be written.
  """
  limit = sum(file.size for file in files) + TAR_MARGIN
  damaged = f"{path} cannot be unpacked: remove it, to have it downloaded again."
  try:
    content = gunzip(path, limit)
    if len(content) > limit:
      raise DataError(damaged)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
      members = {member.name: member for member in tar if member.isreg()}
      folder.mkdir(parents=True, exist_ok=True)
      for file in files:
        member = members.get(f"{inner}/{file.name}")
        if member is None or member.size != file.size:
          continue
        stream = tar.extractfile(member)
        if stream is not None:
          _write(folder / file.name, stream.read(file.size))
  except (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError) as error:
    raise DataError(damaged) from error
  except OSError as error:
    raise _unwritable(files[0].dataset, folder, error) from error


def _write(path: Path, content: bytes) -> None:
  """Writes a file that is there completely or not at all."""
  partial = path.with_name(f"{path.name}.{os.getpid()}.part")
  try:
    partial.write_bytes(content)
    partial.replace(path)
  finally:
    with contextlib.suppress(OSError):
      partial.unlink()
