"""Files and folders that are whole or not there."""

import hashlib
import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
"""Ends the names of what is being written, which then takes its own name."""

DISCARDED = ".discarded"
"""Ends the names of folders that are being removed."""

SEAL = "seal.json"
"""In a sealed folder: the checksum of each file by its path."""


def whole_name(name: str) -> str:
  """The name that a file has when it is whole; Orbax adds its own ending to ours."""
  name = name.split(".orbax-checkpoint-tmp")[0]
  return name.removesuffix(PARTIAL).removesuffix(DISCARDED)


def remove(path: Path) -> None:
  """Removes a file, or a folder at once, if there is one."""
  if not path.is_dir() or path.is_symlink():
    path.unlink(missing_ok=True)
    return
  discarded = path
  if path.name == whole_name(path.name):
    discarded = path.with_name(path.name + DISCARDED)
    remove(discarded)
    os.replace(path, discarded)
  shutil.rmtree(discarded)


def remove_partial(folder: Path) -> None:
  """Removes what a process that was killed has left of its writing in a folder."""
  for path in list(folder.iterdir()):
    if path.name != whole_name(path.name):
      remove(path)


@contextmanager
def writing(path: Path) -> Generator[Path]:
  """Where to write a file or a folder, which in the end takes the place of `path`."""
  partial = path.with_name(path.name + PARTIAL)
  remove(partial)
  yield partial
  if path.is_dir():
    remove(path)
  os.replace(partial, path)


def write_json(path: Path, content: Any) -> None:
  """Writes a whole file or none."""
  with writing(path) as partial:
    partial.write_text(json.dumps(content, indent=2) + "\n")


def seal(folder: Path) -> None:
  """Notes the checksums of all files in a folder, for `check_seal`."""
  files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
  sums = {path.relative_to(folder).as_posix(): _checksum(path) for path in files}
  write_json(folder / SEAL, sums)


def check_seal(folder: Path) -> None:
  """Compares a folder with its seal.

  Raises:
    ValueError: if a file is missing, or not what it was.
    OSError: if it cannot be read.
  """
  try:
    sums = json.loads((folder / SEAL).read_text())
  except FileNotFoundError:
    raise ValueError(f"it has no {SEAL}") from None
  for name, checksum in sums.items():
    path = folder / name
    if not path.is_file():
      raise ValueError(f"{name} is missing")
    if _checksum(path) != checksum:
      raise ValueError(f"{name} has changed")


def _checksum(path: Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(
      file, lambda: hashlib.blake2b(digest_size=16)
    ).hexdigest()
