"""What keeps a run from its folder, in sentences."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class RunError(Exception):
  """A run cannot be started or continued; the message says what to do."""


@contextmanager
def unwritable(path: Path) -> Generator[None]:
  """Makes a RunError of whatever keeps a folder from being written."""
  try:
    yield
  except RunError:
    raise
  except Exception as error:
    # Orbax and TensorStore have errors of many kinds for a full disk.
    raise RunError(
      f"{path} cannot be written ({reason(error)}): choose another folder with --out,"
      " or free some space if the disk is full."
    ) from error


def reason(error: Exception) -> str:
  """What went wrong, in one line; of the operating system's errors without a path."""
  text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
  return text.splitlines()[0][:200]
