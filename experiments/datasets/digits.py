"""scikit-learn's handwritten digits, which need no files."""

from pathlib import Path

import numpy as np
import sklearn.datasets
import sklearn.model_selection

from experiments.datasets.resident import Resident, hold_out


def load(data_dir: Path | None = None, held_out: int = 0) -> Resident:
  """The digits, which come with scikit-learn.

  Args:
    data_dir: unused.
    held_out: how many training images take the test images' place.

  Raises:
    DataError: if so many cannot be held out.
  """
  del data_dir
  return hold_out(digits(), held_out)


def digits() -> Resident:
  """scikit-learn's handwritten digits: 1,797 images of 8×8, 450 of them for testing.

  The images are float32 from 0 to 1. The split is fixed and holds the same share of
  every digit.
  """
  pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
  images = (np.asarray(pixels) / 16).astype(np.float32).reshape(-1, 8, 8, 1)
  labels = np.asarray(labels, np.int32)
  train, test = sklearn.model_selection.train_test_split(
    np.arange(len(labels)), test_size=450, stratify=labels, random_state=0
  )
  return Resident(images[train], labels[train], images[test], labels[test], 10)
