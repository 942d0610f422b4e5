"""Which of a checkpoint's arrays are meant."""

import re
from collections.abc import Sequence
from pathlib import Path

from gsm_optax._files._errors import ReadError


def select(names: Sequence[str], key: str | None, path: Path) -> dict[str, str]:
  """Maps each name under `key` to its name relative to `key`.

  The parts of a name are separated by slashes or, as in safetensors files, by dots.

  Args:
    names: of all arrays.
    key: of a subtree; ``None``: ``params`` if there is one, else all.
    path: of the checkpoint, for messages.

  Raises:
    ReadError: if nothing is there, or there are several ``params``.
  """
  if not names:
    raise ReadError(f"{path} holds no arrays.")
  parts = {name: re.split(r"[./]", name) for name in names}
  roots = list(dict.fromkeys(first for first, *_ in parts.values()))
  if key is None:
    named = [p[: p.index("params") + 1] for p in parts.values() if "params" in p]
    nested = list(dict.fromkeys("/".join(p) for p in named))
    if len(nested) > 1 and "params" not in nested:
      raise ReadError(f"{path} has several params: name one of {nested} with --key.")
    key = "params" if "params" in nested else "".join(nested)
  prefix = re.split(r"[./]", key) if key else []
  chosen = {
    name: name[len(key) + 1 :] if key and len(name) > len(key) else name
    for name in names
    if parts[name][: len(prefix)] == prefix
  }
  if not chosen:
    root = ", ".join(roots)
    raise ReadError(f"{path} has nothing at {key!r}: its root holds {root}.")
  return chosen
