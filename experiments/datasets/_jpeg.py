"""Images from files, cut to a square as training and testing want them.

The geometry is torchvision's, and so is the bilinear filter, which is stretched over
all that a new pixel covers. A JPEG much larger than what is wanted is decoded at 1/2,
1/4 or 1/8 of its size, but not below what is wanted: that takes a fraction of the time.
"""

import contextlib
import math
import struct
import zlib
from collections.abc import Generator

import numpy as np
from PIL import Image

from experiments.datasets.dataset import DataError

SCALES = (0.08, 1.0)
"""Of random crops: parts of the image's area."""
RATIOS = (3 / 4, 4 / 3)
"""Of random crops: width to height."""
ATTEMPTS = 10
"""To draw a crop that fits into the image, before the largest central one is taken."""

# What Pillow raises for files that are damaged in one way or another.
_DAMAGED = (
  OSError,
  EOFError,
  SyntaxError,
  ValueError,
  struct.error,
  zlib.error,
  Image.DecompressionBombError,
)


def random_crop(path: str, size: int, rng: np.random.Generator) -> np.ndarray:
  """A random part of an image, of random proportions, stretched to a square.

  Args:
    path: file of the image.
    size: pixels along each side of the square.
    rng: what to draw the part with.

  Returns:
    uint8 of shape (size, size, 3).

  Raises:
    DataError: for a file that is not a whole image.
  """
  with _opened(path) as image:
    width, height = image.size
    left, top, crop_width, crop_height = crop_box(width, height, rng)
    # What the whole image measures when its part measures `size`.
    wanted = (width * size / crop_width, height * size / crop_height)
    shrink = _shrink(image, wanted)
    box = (
      left / shrink,
      top / shrink,
      (left + crop_width) / shrink,
      (top + crop_height) / shrink,
    )
    rgb = image.convert("RGB")
    return np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR, box))


def crop_box(
  width: int, height: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
  """Left, top, width and height of a random part of an image of this size.

  The part of the area is uniform in `SCALES`; the logarithm of width to height in that
  of `RATIOS`.
  """
  for _ in range(ATTEMPTS):
    area = width * height * rng.uniform(*SCALES)
    ratio = math.exp(rng.uniform(math.log(RATIOS[0]), math.log(RATIOS[1])))
    crop_width = round(math.sqrt(area * ratio))
    crop_height = round(math.sqrt(area / ratio))
    if 0 < crop_width <= width and 0 < crop_height <= height:
      left = int(rng.integers(width - crop_width + 1))
      top = int(rng.integers(height - crop_height + 1))
      return left, top, crop_width, crop_height
  crop_width = max(1, min(width, round(height * RATIOS[1])))
  crop_height = max(1, min(height, round(width / RATIOS[0])))
  left, top = (width - crop_width) // 2, (height - crop_height) // 2
  return left, top, crop_width, crop_height


def central_crop(path: str, size: int) -> np.ndarray:
  """The centre of an image whose short side is made `size` × 256 / 224 pixels.

  Args:
    path: file of the image.
    size: pixels along each side of the centre.

  Returns:
    uint8 of shape (size, size, 3).

  Raises:
    DataError: for a file that is not a whole image.
  """
  with _opened(path) as image:
    width, height = image.size
    short, wanted_short = min(width, height), round(size * 256 / 224)
    wanted = (width * wanted_short // short, height * wanted_short // short)
    shrink = _shrink(image, wanted)
    # Not all of it: what a decoder shrinks is padded to whole pixels.
    box = (0, 0, width / shrink, height / shrink)
    rgb = image.convert("RGB")
    resized = rgb.resize(wanted, Image.Resampling.BILINEAR, box)
    left, top = (round((side - size) / 2) for side in wanted)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def _shrink(image: Image.Image, wanted: tuple[float, float]) -> int:
  """Has a JPEG decoded smaller, but not below `wanted`; returns 1, 2, 4 or 8."""
  width = image.width
  drafted = image.draft(None, (math.ceil(wanted[0]), math.ceil(wanted[1])))
  return round(width / drafted[1][2]) if drafted else 1


@contextlib.contextmanager
def _opened(path: str) -> Generator[Image.Image]:
  try:
    with Image.open(path) as image:
      yield image
  except _DAMAGED as error:
    raise DataError(
      f"{path} cannot be read as an image ({error}): replace it by a whole copy, or"
      " delete it."
    ) from error
