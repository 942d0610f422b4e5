"""The paper's results on MNIST, made again: whatever is not finished yet, then tables.

    python -m experiments.paper mnist [--data-dir FOLDER] [--only NAME ...] [--list]

Each entry is an ordinary run of `experiments.prune`, `experiments.tickets` or
`experiments.magnitude`, kept in ``runs/mnist/NAME`` with its checkpoints. When it is
finished, what is to be committed goes to ``experiments/results/mnist/NAME``; an entry
that has its ``results.json`` there is not run again. All but the base models start from
another entry's; those that are needed and not there are run first. Interrupted, the
same command goes on where it was.
"""

import fnmatch
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table

from experiments import magnitude, prune, tables, tickets
from experiments.tables import RESULTS

JOBS: dict[str, Callable[[Sequence[str]], None]] = {
  "prune": prune.main,
  "tickets": tickets.main,
  "magnitude": magnitude.main,
}
COMMITTED = ("results.json", "metrics.jsonl", "ticket.npz")
"""Of the files that a run leaves; the picture of a first seed besides."""


@dataclass(frozen=True)
class Entry:
  """One run.

  Attributes:
    name: of its folder.
    job: the module of `experiments` that runs it.
    arguments: its preset and flags.
    base: the entry whose base model it starts from.
    found: the entry in whose network a ticket is found.
  """

  name: str
  job: str
  arguments: tuple[str, ...]
  base: str | None = None
  found: str | None = None

  @property
  def needs(self) -> list[str]:
    """The entries that must have been run before, on this machine."""
    return [name for name in (self.base, self.found) if name]


def entries() -> list[Entry]:
  """All that the tables and pictures of the paper's MNIST results are made from."""
  result: list[Entry] = []

  def add(
    name: str, job: str, preset: str, seed: int, *flags: str, found: str | None = None
  ) -> None:
    model = preset.split("-")[0]
    base = None if name.startswith("base-") else f"base-{model}-{seed}"
    arguments = (preset, "--seed", str(seed), *flags)
    result.append(Entry(f"{name}-{seed}", job, arguments, base, found))

  def density(compression: int) -> tuple[str, str]:
    return "--density", repr(1 / compression)

  lenet300, lenet5 = "lenet300-mnist", "lenet5-mnist"
  for seed in range(5):
    add("base-lenet300", "prune", lenet300, seed, "--gsm-epochs", "0")
  for seed in range(5):
    add("lenet300-60x", "prune", lenet300, seed)
  # The paper's tickets.
  for seed in range(3):
    for method in ("gsm", "magnitude", "random"):
      found = f"lenet300-60x-{seed}" if method == "gsm" else f"base-lenet300-{seed}"
      add(
        f"ticket-lenet300-60x-{method}",
        *("tickets", lenet300, seed, "--method", method),
        found=found,
      )
  # Accuracy against compression.
  for compression in (12, 30, 60, 100):
    add(
      f"magnitude-lenet300-{compression}x",
      *("magnitude", lenet300, 0, *density(compression)),
    )
    if compression != 60:
      add(f"lenet300-{compression}x", "prune", lenet300, 0, *density(compression))
  # What makes GSM work.
  for momentum in ("0.9", "0.95", "0.98"):
    add(f"lenet300-momentum-{momentum}", "prune", lenet300, 0, "--momentum", momentum)
  every = ("--evaluate-every", "1")
  add("lenet300-each-epoch", "prune", lenet300, 0, *every)
  add("lenet300-fixed", "prune", lenet300, 0, "--fixed-after", "1", *every)
  # The long ones.
  for seed in range(3):
    add("base-lenet5", "prune", lenet5, seed, "--gsm-epochs", "0")
    for compression in (125, 300):
      name = f"lenet5-{compression}x"
      add(name, "prune", lenet5, seed, *density(compression))
      for method in ("gsm", "magnitude"):
        found = f"{name}-{seed}" if method == "gsm" else f"base-lenet5-{seed}"
        add(
          f"ticket-{name}-{method}",
          *("tickets", lenet5, seed, *density(compression), "--method", method),
          found=found,
        )
  return result


@dataclass(frozen=True)
class Paper:
  """What to run, and where."""

  results: tyro.conf.Positional[Literal["mnist"]] = "mnist"
  """Which of the paper's results."""
  data_dir: Path | None = None
  """Folder of the data set's standard files (default: the user's cache)."""
  only: tuple[str, ...] = ()
  """Names of entries, or patterns such as 'lenet300-*' (default: all)."""
  list: bool = False
  """Show the entries and what is finished, and run nothing."""
  runs: Path = Path("runs/mnist")
  """Folder of the runs, with their checkpoints and params."""
  committed: Path = RESULTS / "mnist"
  """Folder of what is to be committed of them."""


def is_finished(folder: Path) -> bool:
  """Whether a run has come to its end there."""
  return (folder / "results.json").exists()


def chosen(all_entries: Sequence[Entry], patterns: Sequence[str]) -> list[Entry]:
  """The entries that one of the patterns names, in their order."""
  unmatched = [
    pattern
    for pattern in patterns
    if not any(fnmatch.fnmatch(entry.name, pattern) for entry in all_entries)
  ]
  if unmatched:
    sys.exit(f"error: no entry is called {', '.join(unmatched)}; see --list.")
  return [
    entry
    for entry in all_entries
    if not patterns or any(fnmatch.fnmatch(entry.name, name) for name in patterns)
  ]


def commands(entry: Entry, paper: Paper) -> list[str]:
  """The arguments of the entry's job."""
  arguments = [*entry.arguments, "--out", str(paper.runs / entry.name), "--resume"]
  for flag, needed in (("--base", entry.base), ("--found", entry.found)):
    if needed:
      arguments += [flag, str(paper.runs / needed)]
  if paper.data_dir:
    arguments += ["--data-dir", str(paper.data_dir)]
  return arguments


def run(
  entry: Entry, paper: Paper, by_name: dict[str, Entry], console: Console
) -> None:
  """Runs an entry to its end, after those that it needs, and keeps its results."""
  for name in entry.needs:
    if not is_finished(paper.runs / name):
      run(by_name[name], paper, by_name, console)
  console.rule(entry.name)
  JOBS[entry.job](commands(entry, paper))
  keep(entry, paper)


def keep(entry: Entry, paper: Paper) -> None:
  """Copies what is to be committed of a finished run."""
  source, target = paper.runs / entry.name, paper.committed / entry.name
  target.mkdir(parents=True, exist_ok=True)
  names = [*COMMITTED, "report.png"] if entry.name.endswith("-0") else COMMITTED
  # Results last: they are what says that the rest is there.
  for name in sorted(names, key=lambda name: name == "results.json"):
    if (source / name).exists():
      shutil.copy2(source / name, target / name)


def show(all_entries: Sequence[Entry], paper: Paper, console: Console) -> None:
  """Prints the entries and how far they are."""
  table = Table(title="The paper's MNIST results")
  for heading in ("entry", "job", "state"):
    table.add_column(heading)
  for entry in all_entries:
    state = "to do"
    if is_finished(paper.committed / entry.name):
      state = "finished"
    elif (paper.runs / entry.name).exists():
      state = "begun"
    table.add_row(entry.name, entry.job, state)
  console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  paper = tyro.cli(Paper, prog="python -m experiments.paper", args=arguments)
  console = Console()
  all_entries = entries()
  wanted = chosen(all_entries, paper.only)
  if paper.list:
    show(wanted, paper, console)
    return
  by_name = {entry.name: entry for entry in all_entries}
  for entry in wanted:
    if not is_finished(paper.committed / entry.name):
      run(entry, paper, by_name, console)
  if paper.committed == RESULTS / "mnist":
    tables.main()
  show(wanted, paper, console)


if __name__ == "__main__":
  main()
