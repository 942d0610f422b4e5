"""Runs a study: whatever is not finished yet.

    python -m experiments.paper [STUDY] [--data-dir FOLDER] [--only NAME ...] [--list]

Each entry is an ordinary run of `experiments.prune`, `experiments.tickets` or
`experiments.magnitude`, kept in ``runs/STUDY/NAME`` with its checkpoints. When it is
finished, what is to be committed goes to ``experiments/results/STUDY/NAME``; an entry
that has its ``results.json`` there is not run again for its own sake. Some entries
start from another entry's run; where that is not on this machine, it is made first, and
what is committed of it stays as it is. Interrupted, the same command goes on where it
was.
"""

import fnmatch
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from experiments.jobs.command_line import run_command_line
from experiments.run.errors import RunError, unwritable
from experiments.run.terminal import on_any_terminal
from experiments.studies import studies
from experiments.studies.results import RESULTS
from experiments.studies.study import Entry

COMMITTED = ("results.json", "metrics.jsonl", "ticket.npz")
"""Of the files that a run leaves; the picture of a first pruned network besides."""


@dataclass(frozen=True)
class Paper:
  """What to run, and where."""

  study: tyro.conf.Positional[str] = "mnist"
  """A module of experiments.studies."""
  data_dir: Path | None = None
  """Folder of the data set's standard files (default: the user's cache)."""
  only: tuple[str, ...] = ()
  """Names of entries, or patterns such as 'lenet300-*' (default: all)."""
  list: bool = False
  """Show the entries and what is finished, and run nothing."""
  stop_after: float | None = None
  """Seconds after which an entry stops, with a checkpoint; the same command goes on."""
  runs_dir: Path | None = None
  """Folder of the runs, with their checkpoints and params (default: runs/STUDY)."""
  results_dir: Path | None = None
  """Folder of what is to be committed (default: experiments/results/STUDY)."""

  @property
  def runs(self) -> Path:
    """Folder of the runs."""
    return self.runs_dir or Path("runs") / self.study

  @property
  def committed(self) -> Path:
    """Folder of what is to be committed of them."""
    return self.results_dir or RESULTS / self.study


def is_finished(folder: Path) -> bool:
  """Whether a run has come to its end there."""
  return (folder / "results.json").exists()


def chosen(entries: Sequence[Entry], patterns: Sequence[str]) -> list[Entry]:
  """The entries that one of the patterns names, in their order."""
  unmatched = [
    pattern
    for pattern in patterns
    if not any(fnmatch.fnmatch(entry.name, pattern) for entry in entries)
  ]
  if unmatched:
    sys.exit(f"error: no entry is called {', '.join(unmatched)}; see --list.")
  return [
    entry
    for entry in entries
    if not patterns or any(fnmatch.fnmatch(entry.name, name) for name in patterns)
  ]


def run(
  entry: Entry, paper: Paper, by_name: dict[str, Entry], console: Console
) -> None:
  """Runs an entry to its end, after those that it needs, and keeps its results."""
  for name in entry.needs:
    if not is_finished(paper.runs / name):
      run(by_name[name], paper, by_name, console)
  console.rule(entry.name)
  job, run_job = entry.prepared(paper.runs, paper.data_dir, paper.stop_after)
  run_command_line(job, run_job, "the same command")
  if not is_finished(paper.runs / entry.name):
    sys.exit(0)  # its time was up
  try:
    keep(entry, paper)
  except RunError as error:
    sys.exit(f"error: {error}")


def keep(entry: Entry, paper: Paper) -> None:
  """Copies what is to be committed of a finished run, if nothing is there yet."""
  pictured = entry.name.endswith("-0") and not entry.name.startswith("try-")
  pictured = pictured and entry.job == "prune" and entry.recipe.gsm.epochs > 0
  names = [*COMMITTED, "report.png"] if pictured else COMMITTED
  copy_results(paper.runs / entry.name, paper.committed / entry.name, names)


def copy_results(
  source: Path, target: Path, names: Sequence[str] = (*COMMITTED, "report.png")
) -> None:
  """Copies results to where they are committed, if nothing is there yet.

  Raises:
    RunError: if that cannot be written.
  """
  if is_finished(target):
    return
  with unwritable(target):
    target.mkdir(parents=True, exist_ok=True)
    # Results last: they are what says that the rest is there.
    for name in sorted(names, key=lambda name: name == "results.json"):
      if (source / name).exists():
        shutil.copy2(source / name, target / name)


def show(entries: Sequence[Entry], paper: Paper, console: Console) -> None:
  """Prints the entries and how far they are."""
  table = Table(title=f"{paper.study}: runs in {paper.runs}")
  for heading in ("entry", "job", "state"):
    table.add_column(heading)
  for entry in entries:
    state = "to do"
    if is_finished(paper.committed / entry.name):
      state = "finished"
    elif (paper.runs / entry.name).exists():
      state = "begun"
    table.add_row(entry.name, entry.job, state)
  console.print(table)


@on_any_terminal
def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  arguments = sys.argv[1:] if arguments is None else arguments
  paper = tyro.cli(
    Paper, prog="python -m experiments.paper", args=arguments, description=__doc__
  )
  if paper.study not in studies():
    names = ", ".join(studies())
    sys.exit(
      f"error: there is no study {paper.study!r}; choose from {names}. (A study is a"
      " module of experiments.studies with a Study called STUDY.)"
    )
  if "--only" in arguments and not paper.only:
    sys.exit("error: --only needs the name of an entry; see --list.")
  console = Console()
  entries = studies()[paper.study].entries
  wanted = chosen(entries, paper.only)
  if not paper.list:
    by_name = {entry.name: entry for entry in entries}
    for entry in wanted:
      if not is_finished(paper.committed / entry.name):
        run(entry, paper, by_name, console)
    console.print("python -m experiments.tables puts the results into the pages.")
  show(wanted, paper, console)
