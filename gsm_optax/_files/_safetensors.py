"""The weights of a safetensors file."""

import json
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from gsm_optax._files._errors import ReadError, needs, one_line
from gsm_optax._files._names import select

DTYPES = {
  "F64": "float64",
  "F32": "float32",
  "F16": "float16",
  "BF16": "bfloat16",
  "C64": "complex64",
  "F8_E4M3": "float8_e4m3fn",
  "F8_E5M2": "float8_e5m2",
  "F8_E4M3FNUZ": "float8_e4m3fnuz",
  "F8_E5M2FNUZ": "float8_e5m2fnuz",
  "F8_E8M0": "float8_e8m0fnu",
  "F4": "float4_e2m1fn",
}
"""Floating-point types by their names in the file; there are others of six bits."""

MOST_AXES = 64
"""Of an array in NumPy."""


def read_safetensors(path: Path, key: str | None) -> dict[str, np.ndarray] | None:
  """Reads as `read_weights` does; ``None`` if the file is another.

  Raises:
    ReadError: if a weight is of a type or shape that cannot be read.
  """
  try:
    import safetensors
  except ModuleNotFoundError as error:
    raise ReadError(needs("a safetensors file", "safetensors")) from error
  try:
    # It checks the header against the file. The numbers are read here, as it has no
    # arrays of NumPy's for the newer types.
    with safetensors.safe_open(path, framework="numpy"):
      pass
  except safetensors.SafetensorError as error:
    with path.open("rb") as file:
      is_another = file.read(9)[8:] != b"{"
    if is_another:
      return None
    # Damaged, or with types that an older version of it does not know.
    raise ReadError(f"safetensors cannot read {path}: {one_line(error)}") from error
  with path.open("rb") as file:
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    chosen = select(list(header), key, path)
    return {
      chosen[name]: _read(file, 8 + length, path, name, header[name])
      for name in header
      if name in chosen and _is_weight(header[name])
    }


def _is_weight(described: Any) -> bool:
  # F for floating point; a complex number's C is no better a hint than its name.
  kind = described["dtype"]
  return len(described["shape"]) >= 2 and ("F" in kind or kind in DTYPES)


def _read(
  file: BinaryIO, start: int, path: Path, name: str, described: Any
) -> np.ndarray:
  kind, shape = described["dtype"], described["shape"]
  if kind not in DTYPES:
    raise ReadError(f"{path}: {name!r} is of type {kind}, which cannot be read.")
  if len(shape) > MOST_AXES:
    raise ReadError(f"{path}: {name!r} has {len(shape)} axes, which cannot be read.")
  begin, end = described["data_offsets"]
  file.seek(start + begin)
  content = np.frombuffer(file.read(end - begin), np.uint8)
  if kind == "F4":  # two in a byte, the lower half first
    content = np.stack([content & 15, content >> 4], axis=-1).reshape(-1)
  values = content.view(jnp.dtype(DTYPES[kind])).reshape(shape)
  # What JAX may not compute with is exact in a wider type.
  return values.astype(np.float32) if kind.startswith(("F8", "F4")) else values
