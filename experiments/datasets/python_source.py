"""Python's own standard library as a text: it lies wherever Python does."""

import hashlib
import sysconfig
from pathlib import Path

from experiments.datasets._files import reason
from experiments.datasets.dataset import DataError
from experiments.datasets.texts import BYTES, Texts, windows

NOT_SOURCE = frozenset(
  (
    # What some installations leave out, and what was made for one of them.
    *("test", "tests", "idlelib", "lib2to3", "turtledemo", "tkinter", "distutils"),
    *("ensurepip", "site-packages", "dist-packages", "__pycache__"),
    # Tables rather than programs.
    *("encodings", "pydoc_data"),
  )
)
"""Folders that are left out, wherever they stand."""

TEST_PARTS = 20
"""One in so many files is for testing."""


def load(
  data_dir: Path | None = None,
  held_out: int = 0,
  length: int = 128,
  windows_per_epoch: int | None = None,
) -> Texts:
  """The sources of Python's standard library, cut into windows of bytes.

  A file is either for training or for testing, by a hash of its name: some 8 MB and
  0.4 MB with Python 3.11. Each version of Python has a text of its own.

  Args:
    data_dir: a folder of other ``.py`` files to take instead.
    held_out: how many windows, of other training files, take the test windows' place.
    length: bytes in a window.
    windows_per_epoch: as in `Texts`.

  Raises:
    DataError: if there are no sources, or too few.
  """
  root = Path(sysconfig.get_path("stdlib")) if data_dir is None else data_dir
  files = sources(root)
  # The tail of the order is for testing, and what stands before it is held out.
  order = sorted(files, key=lambda name: hashlib.sha256(name.encode()).digest())
  tests = max(len(order) // TEST_PARTS, 1)
  train, test = order[:-tests], order[-tests:]
  if held_out:
    test = list[str]()
    while train and sum(len(files[name]) for name in test) <= held_out * length:
      test.append(train.pop())
  parts = [b"".join(files[name] for name in part) for part in (train, test)]
  if any(len(part) <= length for part in parts):
    raise DataError(
      f"The {len(files)} Python files in {root} are too little text for windows of"
      f" {length} bytes{f' and {held_out} held out' if held_out else ''}."
    )
  (images, labels), (test_images, test_labels) = (windows(p, length) for p in parts)
  if held_out:
    test_images, test_labels = test_images[:held_out], test_labels[:held_out]
  return Texts(
    *(images, labels, test_images, test_labels, BYTES),
    windows_per_epoch=windows_per_epoch,
  )


def sources(root: Path) -> dict[str, bytes]:
  """The Python files in a folder, by their names in it.

  Raises:
    DataError: if there are none, or one cannot be read.
  """
  found = dict[str, bytes]()
  try:
    for path in sorted(root.rglob("*.py")):
      parts = path.relative_to(root).parts
      if not NOT_SOURCE.intersection(parts[:-1]) and not _is_of_this_machine(parts):
        found["/".join(parts)] = path.read_bytes()
  except OSError as error:
    raise DataError(
      f"The Python files in {root} cannot be read: {reason(error)}."
    ) from error
  if not found:
    raise DataError(f"There are no Python files in {root}.")
  return found


def _is_of_this_machine(parts: tuple[str, ...]) -> bool:
  return any(part.startswith(("config-", "_sysconfigdata")) for part in parts)
