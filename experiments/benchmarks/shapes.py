"""The shapes of some networks' kernels, in the order of the forward pass."""

import math
from collections.abc import Iterator

Shape = tuple[int, ...]


def lenet300() -> Iterator[Shape]:
  """LeNet-300-100's on MNIST, 266,200 weights."""
  yield from ((784, 300), (300, 100), (100, 10))


def cifar_resnet(blocks: int) -> Iterator[Shape]:
  """A ResNet's on CIFAR-10, with shortcuts that have no weights (option A)."""
  yield (3, 3, 3, 16)
  features = 16
  for width in (16, 32, 64):
    for _ in range(blocks):
      yield (3, 3, features, width)
      yield (3, 3, width, width)
      features = width
  yield (64, 10)


def resnet50() -> Iterator[Shape]:
  """ResNet-50's on ImageNet, 25.5 million weights.

  The first block of each stage begins with the kernel of its shortcut.
  """
  yield (7, 7, 3, 64)
  features = 64
  for stage, blocks in enumerate((3, 4, 6, 3)):
    width = 64 * 2**stage
    for block in range(blocks):
      if block == 0:
        yield (1, 1, features, 4 * width)
      yield (1, 1, features, width)
      yield (3, 3, width, width)
      yield (1, 1, width, 4 * width)
      features = 4 * width
  yield (2048, 1000)


def transformer() -> Iterator[Shape]:
  """GPT-2's, 133 million weights: q, k and v in one, an embedding for both ends."""
  yield (62_464, 768)
  for _ in range(12):
    yield from ((768, 3 * 768), (768, 768), (768, 4 * 768), (4 * 768, 768))


def deep_transformer() -> Iterator[Shape]:
  """Many small leaves: 37 layers of six kernels, an embedding and its counterpart."""
  yield (8192, 256)
  for _ in range(37):
    yield from [(256, 256)] * 4
    yield from ((256, 1024), (1024, 256))
  yield (256, 8192)


NETWORKS: dict[str, list[Shape]] = {
  "resnet56": list(cifar_resnet(9)),
  "resnet50": list(resnet50()),
  "transformer": list(transformer()),
  "deep-transformer": list(deep_transformer()),
  "resnet8": list(cifar_resnet(1)),
  "lenet300": list(lenet300()),
}
"""By name."""


def size(shapes: list[Shape]) -> int:
  """The number of weights."""
  return sum(math.prod(shape) for shape in shapes)
