"""Draws the pictures of the studies from what is committed, and writes them beside it.

python -m experiments.figures [layers momentum reactivation shrinkage compression]
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from experiments.studies import studies
from experiments.studies.results import RESULTS


@dataclass(frozen=True)
class Drawing:
  """Draws what is named, or everything."""

  names: tyro.conf.Positional[tuple[str, ...]] = ()
  """Which pictures (default: all)."""


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  drawing = tyro.cli(Drawing, prog="python -m experiments.figures", args=arguments)
  figures = {
    name: (make, RESULTS / study_name)
    for study_name, study in studies().items()
    for name, make in study.figures.items()
  }
  if unknown := [name for name in drawing.names if name not in figures]:
    sys.exit(f"error: there is no {unknown[0]}; choose from {', '.join(figures)}.")
  missing = False
  for name in drawing.names or figures:
    make, folder = figures[name]
    try:
      figure = make(folder)
    except FileNotFoundError as error:
      missing = True
      print(f"{name}: not drawn, since there is no {error.filename}", file=sys.stderr)
      continue
    path = folder / f"{name}.png"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(path)
  if missing:
    sys.exit("error: python -m experiments.paper runs what is missing.")
