"""Runs that share a folder wait for nobody: the second one ends with a sentence."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from experiments.run.errors import RunError

LOCK = "lock"
"""The name of the file that is locked; it stays, and means nothing by itself."""


@contextmanager
def locked(folder: Path, flag: str = "--out") -> Generator[None]:
  """Keeps a folder for one run, which writes there. A kill ends it too.

  Args:
    folder: the folder.
    flag: the one that named it.

  Raises:
    RunError: if another run writes or reads there.
    OSError: if there can be no such file.
  """
  with (folder / LOCK).open("a+") as file:
    _lock(file, folder, flag, shared=False)
    yield


@contextmanager
def read_locked(folder: Path, flag: str) -> Generator[None]:
  """Keeps all runs from writing to a folder while it is read.

  Raises:
    RunError: if one is writing there.
  """
  try:
    file = (folder / LOCK).open()
  except OSError:  # none has written there since the folder was copied
    yield
    return
  with file:
    _lock(file, folder, flag, shared=True)
    yield


def _lock(file: IO[str], folder: Path, flag: str, shared: bool) -> None:
  try:
    import fcntl

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    fcntl.flock(file, kind | fcntl.LOCK_NB)
  except BlockingIOError as error:
    raise RunError(
      f"Another run is using {folder}: wait for its end, or choose another folder with"
      f" {flag}."
    ) from error
  except (ImportError, OSError):
    pass  # Windows, or a file system without locks: runs do not exclude each other
