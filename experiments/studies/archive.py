"""One file with all that a study's runs need to go on, or have given."""

import json
import tarfile
from pathlib import Path

from experiments.run.errors import RunError, reason
from experiments.run.files import writing

NOTE = "study.json"
"""Says of which study the runs are."""

TO_CONTINUE = ("job.json", "base")
"""What a run needs to go on, besides the newest checkpoint."""

RESULTS = ("results.json", "metrics.jsonl", "report.png")
"""What is kept of a run that is finished."""


def pack(runs: Path, archive: Path) -> None:
  """Writes the archive, whole or not at all: of each run what is needed, and plans."""
  with writing(archive) as partial, tarfile.open(partial, "w") as tar:
    for path in sorted(runs.glob("*.json")):
      tar.add(path, path.name)
    for run in sorted(path for path in runs.iterdir() if path.is_dir()):
      parts = [run / name for name in RESULTS]
      if not (run / "results.json").exists():
        steps = [path for path in run.glob("checkpoints/*") if path.name.isdecimal()]
        newest = sorted(steps, key=lambda path: int(path.name))[-1:]
        parts = [*(run / name for name in TO_CONTINUE), *newest]
      for part in parts:
        if part.exists():
          tar.add(part, part.relative_to(runs).as_posix())


def unpack(archive: Path, runs: Path, study: str) -> None:
  """Puts what `pack` has written into a folder of runs.

  Raises:
    RunError: if it is no such archive, damaged, or of another study.
  """
  try:
    with tarfile.open(archive) as tar:
      note = tar.extractfile(NOTE)
      packed = json.loads(note.read())["study"] if note else None
      if packed != study:
        raise RunError(f"{archive} holds runs of {packed}, not of {study}.")
      tar.extractall(runs, filter="data")
  except RunError:
    raise
  except (
    OSError,
    EOFError,
    tarfile.TarError,
    KeyError,
    TypeError,
    ValueError,
  ) as error:
    raise RunError(
      f"{archive} cannot be continued ({reason(error)}): name the runs.tar that a"
      " sitting has left."
    ) from error
