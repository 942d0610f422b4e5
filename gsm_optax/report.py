"""The sparsity report of a checkpoint: ``python -m gsm_optax report PATH``.

PATH is a file of `gsm_optax.save`, a safetensors file or an Orbax folder: a checkpoint,
one step of a `CheckpointManager`, or a manager's folder, from which the last step is
read. As in `sparsity_report` by default, only floating-point `kernels` are counted. The
options:

- ``--key a/b``: report on this subtree. The default is ``params``, so that the
  optimizer's state does not count, or everything if there is no ``params``.
- ``--density D``: report on what pruning to this density would leave.
- ``--json``: print `SparsityReport.to_dict` instead of a table.

For checkpoints of others, Orbax or safetensors must be installed:
``pip install 'gsm-optax[report]'``.
"""

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import jax

from gsm_optax._files import ReadError, read_weights
from gsm_optax._pruning import apply_mask, magnitude_mask
from gsm_optax._sparsity_report import sparsity_report
from gsm_optax._trees import printable


def main(arguments: Sequence[str] | None = None) -> int:
  """Prints the report, or one sentence on why there is none; returns the exit code."""
  parser = argparse.ArgumentParser(
    prog="python -m gsm_optax report",
    description="Prints how many weights are left in each layer of a checkpoint.",
  )
  parser.add_argument(
    "path",
    type=Path,
    help="a file of gsm_optax.save, an Orbax checkpoint folder or a safetensors file",
  )
  parser.add_argument(
    "--key",
    help="the subtree to report on, such as a/b (default: params if there is one)",
  )
  parser.add_argument(
    "--density", type=float, help="report on what pruning to this density would leave"
  )
  parser.add_argument("--json", action="store_true", help="print JSON, not a table")
  options = parser.parse_args(arguments)
  try:
    with _silence():
      params = read_weights(options.path, options.key)
      if options.density is not None:
        params = apply_mask(params, magnitude_mask(params, options.density))
      report = sparsity_report(params)
  except (ReadError, ValueError) as error:
    return say(printable(str(error)), sys.stderr) or 1
  text = json.dumps(report.to_dict(), indent=2) if options.json else str(report)
  return say(text, sys.stdout)


@contextmanager
def _silence() -> Generator[None]:
  """What a library warns of while it reads a damaged file is in the error as well."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    try:
      yield
    finally:
      logging.disable(logging.NOTSET)


def say(text: str, stream: TextIO | None) -> int:
  """Prints, on whatever terminal; returns the exit code."""
  if stream is None:  # it was closed before the program began
    return 1
  encoding = stream.encoding or "utf-8"
  try:
    "×".encode(encoding)
  except UnicodeEncodeError:
    text = text.replace("×", "x")
  text = text.encode(encoding, "backslashreplace").decode(encoding)
  try:
    print(text, file=stream, flush=True)
  except OSError as error:
    # Python would try once more at its end, and tell of that failure too.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    # Who closed a pipe knows, and that standard error is full cannot be told.
    if stream is not sys.stderr and not isinstance(error, BrokenPipeError):
      print(f"The output cannot be written: {error.strerror}.", file=sys.stderr)
    return 1
  return 0


def run(arguments: Sequence[str] | None = None) -> int:
  """`main`, as a program of its own."""
  # Counting needs only the host, and an accelerator may be busy. x64 keeps float64.
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_enable_x64", True)
  # Of a damaged checkpoint, Orbax's tasks go on complaining when all is said.
  sys.unraisablehook = lambda _: None
  return main(arguments)


if __name__ == "__main__":
  sys.exit(run())
