"""Which images a folder of folders holds, without a look into their files."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.datasets.dataset import DataError

EXTENSIONS = (".jpeg", ".jpg")
LAYOUT = (
  "--data-dir must name a folder of images in train/CLASS/*.JPEG and val/CLASS/*.JPEG"
)


@dataclass(frozen=True)
class Images:
  """Where n images lie and what they show.

  Arrays, since every worker gets a copy and a million paths would take seconds.

  Attributes:
    folder: it has a folder for every class.
    classes: names of these folders, sorted.
    labels: int32 of shape (n,), indices of `classes`.
    names: bytes of shape (n,), names of files.
  """

  folder: Path
  classes: tuple[str, ...]
  labels: np.ndarray
  names: np.ndarray

  def __len__(self) -> int:
    return len(self.labels)

  def take(self, numbers: np.ndarray) -> "Images":
    """Some of the images; `numbers` are integers below n."""
    return Images(self.folder, self.classes, self.labels[numbers], self.names[numbers])

  def path(self, number: int) -> str:
    """The file of an image."""
    name = os.fsdecode(self.names[number])
    return os.path.join(self.folder, self.classes[self.labels[number]], name)


def list_images(folder: Path) -> Images:
  """All images below a folder of folders, sorted by class and name.

  Raises:
    DataError: if there are none, or none of a class.
  """
  found = _listed(folder, lambda entry: entry.is_dir())
  classes = tuple(sorted(found))
  if not classes:
    raise DataError(f"{folder} has no folders, one for every class: {LAYOUT}.")
  labels: list[np.ndarray] = []
  names: list[bytes] = []
  for label, name in enumerate(classes):
    # By name alone: to ask for the kind of a million files can take minutes.
    files = _listed(
      folder / name, lambda entry: entry.name.lower().endswith(EXTENSIONS)
    )
    if not files:
      raise DataError(
        f"{folder / name} has no images (*{', *'.join(EXTENSIONS)}): put those of this"
        " class there, or delete the folder."
      )
    labels.append(np.full(len(files), label, np.int32))
    names.extend(sorted(map(os.fsencode, files)))
  return Images(folder, classes, np.concatenate(labels), np.array(names))


def _listed(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[str]:
  """Names in a folder but for hidden ones, such as macOS leaves beside its files."""
  try:
    with os.scandir(folder) as entries:
      return [e.name for e in entries if not e.name.startswith(".") and wanted(e)]
  except OSError as error:
    raise DataError(
      f"{folder} cannot be listed ({error.strerror}): {LAYOUT}."
    ) from None
