"""What a kill leaves of a folder, at any moment of a run."""

import contextlib
import os
import re
import shutil
import sys


class Snapshots:
  """Copies a folder whenever a file in it is about to be changed.

  Each copy is what a kill at that moment leaves behind.
  """

  CHANGES = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}
  )

  def __init__(self):
    self._folder = self._into = None
    sys.addaudithook(self._hook)  # for good: there is no way to remove one

  def of(self, folder, into, call):
    """The copies of `folder` that are made during a call."""
    self._folder, self._into, self._copies = folder, into, {}
    try:
      call()
    finally:
      self._folder = None
    return self._copies

  def _hook(self, event, arguments):
    folder = self._folder
    if folder is None or event not in self.CHANGES or not folder.exists():
      return
    path = arguments[0]
    if not isinstance(path, str | os.PathLike) or str(folder) not in os.fspath(path):
      return
    self._folder = None
    copy = self._into / f"{len(self._copies):03}"
    # Another thread of Orbax may be quicker: then there is one more copy.
    with contextlib.suppress(shutil.Error):
      shutil.copytree(folder, copy)
    state = tuple(sorted(_anonymous(path, copy) for path in copy.rglob("*")))
    if state in self._copies:
      shutil.rmtree(copy)
    else:
      self._copies[state] = copy
    self._folder = folder


def _anonymous(path, folder):
  """A path without what is another in every run, and whether anything is in it."""
  name = re.sub("[0-9a-f]{32}|tfevents.*", "*", str(path.relative_to(folder)))
  return name, path.is_file() and path.stat().st_size > 0
