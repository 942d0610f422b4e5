"""The paper's results on MNIST, made again: whatever is not finished yet, then tables.

    python -m experiments.paper mnist [--data-dir FOLDER] [--only NAME ...] [--list]
    python -m experiments.paper recipes ...

The second makes what docs/recipes.md tells, on training images held out.

Each entry is an ordinary run of `experiments.prune`, `experiments.tickets` or
`experiments.magnitude`, kept in ``runs/GROUP/NAME`` with its checkpoints. When it is
finished, what is to be committed goes to ``experiments/results/GROUP/NAME``; an entry
that has its ``results.json`` there is not run again for its own sake. All but the base
models start from another entry's run; where that is not on this machine, it is made
first, and what is committed of it stays as it is. Interrupted, the same command goes on
where it was.
"""

import fnmatch
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from experiments import magnitude, prune, tables, tickets
from experiments.jobs import Job, parse, run_command_line
from experiments.magnitude import MagnitudeJob
from experiments.tables import RESULTS
from experiments.tickets import TicketJob

JOBS: dict[str, tuple[type[Job], Callable[..., Any]]] = {
  "prune": (Job, prune.run),
  "tickets": (TicketJob, tickets.run),
  "magnitude": (MagnitudeJob, magnitude.run),
}
COMMITTED = ("results.json", "metrics.jsonl", "ticket.npz")
"""Of the files that a run leaves; the picture of a first pruned network besides."""


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


RECIPES: dict[str, tuple[str, ...]] = {
  "recipe": (),
  "no-shift": ("--input-shift", "0"),
  "shift-2": ("--input-shift", "2"),
  "one-density": ("--start-density", "None"),
  "start-at-0.5": ("--start-density", "0.5"),
  "one-decay": ("--passive-weight-decay", "None"),
  "drops": ("--schedule", "drops"),
  "momentum-0.9": ("--momentum", "0.9"),
  "momentum-0.97": ("--momentum", "0.97"),
  "momentum-0.99": ("--momentum", "0.99", "--learning-rate", "0.03"),
  "batch-128": ("--batch-size", "128", "--learning-rate", "0.05"),
  "no-nesterov": ("--no-nesterov",),
  "smoothing-0.5": ("--smoothing", "0.5"),
  "120-epochs": ("--gsm-epochs", "120"),
}
"""What each variant of the preset `lenet300-fast` changes."""

FAR_LENET300: dict[str, tuple[str, ...]] = {
  f"150x-share-{share}": ("--active-share", share) for share in ("1", "0.9", "0.8")
}
"""What each variant of the preset `lenet300-far`, at 150×, changes."""

FAR_LENET5: dict[str, tuple[str, ...]] = {
  "500x-share-1": ("--active-share", "1"),
  "500x-share-0.87": (),
  "500x-no-shift": ("--active-share", "1", "--input-shift", "0"),
  "500x-smoothing-0.5": ("--active-share", "0.9", "--smoothing", "0.5"),
  "500x-passive-2e-3": ("--passive-weight-decay", "2e-3"),
  "500x-slow": ("--density-epochs", "42"),
  "500x-120-epochs": (
    *("--active-share", "0.9", "--gsm-epochs", "120"),
    *("--density-epochs", "48"),
  ),
}
"""The same of `lenet5-far`."""


def recipe_entries() -> list[Entry]:
  """The recipes and their variants, measured on held-out images."""
  result: list[Entry] = []
  held_out = ("--held-out", "5000")
  sparse = ("--evaluate-every", "20")
  for seed in range(3):
    common = ("lenet300-fast", "--seed", str(seed), *held_out)
    base = f"base-{seed}"
    result.append(Entry(base, "prune", (*common, "--gsm-epochs", "0")))
    for name, flags in RECIPES.items():
      # What the base model depends on too needs one of its own.
      own = "--batch-size" in flags or "--no-nesterov" in flags
      arguments = (*common, *flags, *sparse)
      result.append(Entry(f"{name}-{seed}", "prune", arguments, None if own else base))
    far = ("lenet300-far", "--seed", str(seed), *held_out, "--density", repr(1 / 150))
    for name, flags in FAR_LENET300.items():
      entry = Entry(f"{name}-{seed}", "prune", (*far, *flags, *sparse), base)
      result.append(entry)
  # From a base model of fewer epochs: a quarter of an hour each, on one core.
  common = ("lenet5-far", "--seed", "0", *held_out, "--base-epochs", "12", *sparse)
  result.append(Entry("base-lenet5-0", "prune", (*common, "--gsm-epochs", "0")))
  for name, flags in FAR_LENET5.items():
    result.append(Entry(f"{name}-0", "prune", (*common, *flags), "base-lenet5-0"))
  return result


def mnist_entries() -> list[Entry]:
  """All that the tables and pictures of the paper's MNIST results are made from."""
  result: list[Entry] = []

  def add(
    name: str, job: str, preset: str, seed: int, *flags: str, found: str | None = None
  ) -> None:
    model = preset.split("-")[0]
    alone = name.startswith("base-") or name.endswith("-random")
    base = None if alone else f"base-{model}-{seed}"
    arguments = (preset, "--seed", str(seed), *flags)
    result.append(Entry(f"{name}-{seed}", job, arguments, base, found))

  def density(compression: int) -> tuple[str, str]:
    return "--density", repr(1 / compression)

  def add_tickets(pruned: str, methods: Sequence[str]) -> None:
    """Tickets of the size of a pruned network, and of its seed."""
    entry = next(entry for entry in result if entry.name == pruned)
    name, seed = pruned.rsplit("-", 1)
    preset, _, _, *flags = entry.arguments
    for method in methods:
      found = {"gsm": pruned, "magnitude": entry.base, "random": None}[method]
      # Half of GSM's: on held-out images no worse than all 60.
      flags_of = (*flags, "--method", method, "--ticket-epochs", "30")
      add(
        f"ticket-{name}-{method}", "tickets", preset, int(seed), *flags_of, found=found
      )

  only_base = ("--gsm-epochs", "0")
  for seed in range(5):
    add("base-lenet300", "prune", "lenet300-mnist", seed, *only_base)
  for seed in range(5):
    add("lenet300-60x", "prune", "lenet300-mnist", seed)
    add("lenet300-fast", "prune", "lenet300-fast", seed)
  # What the better training gives without pruning: all weights are active.
  dense = ("--density", "1", "--start-density", "None")
  for seed in range(3):
    add("lenet300-dense", "prune", "lenet300-fast", seed, *dense)
    add("lenet300-far", "prune", "lenet300-far", seed)
    add("lenet300-150x", "prune", "lenet300-far", seed, *density(150))
    add_tickets(f"lenet300-fast-{seed}", ("gsm", "magnitude", "random"))
  # Accuracy against compression.
  for compression in (12, 30, 60, 100):
    at = density(compression)
    add(f"magnitude-lenet300-{compression}x", "magnitude", "lenet300-mnist", 0, *at)
    if compression != 60:
      add(f"lenet300-{compression}x", "prune", "lenet300-mnist", 0, *at)
  # What makes GSM work.
  for momentum in ("0.9", "0.95", "0.98"):
    flags = ("--momentum", momentum)
    add(f"lenet300-momentum-{momentum}", "prune", "lenet300-mnist", 0, *flags)
  every = ("--evaluate-every", "1")
  add("lenet300-each-epoch", "prune", "lenet300-mnist", 0, *every)
  add("lenet300-fixed", "prune", "lenet300-mnist", 0, "--fixed-after", "1", *every)
  # LeNet-5 takes longer.
  for seed in range(3):
    add("base-lenet5", "prune", "lenet5-mnist", seed, *only_base)
    for compression in (125, 300):
      name = f"lenet5-{compression}x-fast"
      add(name, "prune", "lenet5-fast", seed, *density(compression))
      add_tickets(f"{name}-{seed}", ("gsm", "magnitude"))
  one_shot = ("--gsm-epochs", "0")
  add("magnitude-lenet5-125x", "magnitude", "lenet5-fast", 0, *one_shot)
  for seed in range(3):
    add("lenet5-far", "prune", "lenet5-far", seed)
  add("lenet5-125x", "prune", "lenet5-mnist", 0, *density(125))
  return result


@dataclass(frozen=True)
class Paper:
  """What to run, and where."""

  group: tyro.conf.Positional[Literal["mnist", "recipes"]] = "mnist"
  """The paper's results, or the variants of the recipe that beats them."""
  data_dir: Path | None = None
  """Folder of the data set's standard files (default: the user's cache)."""
  only: tuple[str, ...] = ()
  """Names of entries, or patterns such as 'lenet300-*' (default: all)."""
  list: bool = False
  """Show the entries and what is finished, and run nothing."""
  runs_dir: Path | None = None
  """Folder of the runs, with their checkpoints and params (default: runs/GROUP)."""
  results_dir: Path | None = None
  """Folder of what is to be committed (default: experiments/results/GROUP)."""

  @property
  def runs(self) -> Path:
    """Folder of the runs."""
    return self.runs_dir or Path("runs") / self.group

  @property
  def committed(self) -> Path:
    """Folder of what is to be committed of them."""
    return self.results_dir or RESULTS / self.group


GROUPS: dict[str, Callable[[], list[Entry]]] = {
  "mnist": mnist_entries,
  "recipes": recipe_entries,
}


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
  kind, run_job = JOBS[entry.job]
  job = parse(kind, entry.job, "", commands(entry, paper))
  run_command_line(job, run_job, "the same command")
  keep(entry, paper)


def keep(entry: Entry, paper: Paper) -> None:
  """Copies what is to be committed of a finished run, if nothing is there yet."""
  source, target = paper.runs / entry.name, paper.committed / entry.name
  if is_finished(target):
    return
  target.mkdir(parents=True, exist_ok=True)
  pictured = entry.name.endswith("-0") and entry.base
  names = [*COMMITTED, "report.png"] if pictured else COMMITTED
  # Results last: they are what says that the rest is there.
  for name in sorted(names, key=lambda name: name == "results.json"):
    if (source / name).exists():
      shutil.copy2(source / name, target / name)


def show(all_entries: Sequence[Entry], paper: Paper, console: Console) -> None:
  """Prints the entries and how far they are."""
  table = Table(title=f"{paper.group}: runs in {paper.runs}")
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
  arguments = sys.argv[1:] if arguments is None else arguments
  paper = tyro.cli(Paper, prog="python -m experiments.paper", args=arguments)
  if "--only" in arguments and not paper.only:
    sys.exit("error: --only needs the name of an entry; see --list.")
  console = Console()
  all_entries = GROUPS[paper.group]()
  wanted = chosen(all_entries, paper.only)
  if paper.list:
    show(wanted, paper, console)
    return
  by_name = {entry.name: entry for entry in all_entries}
  for entry in wanted:
    if not is_finished(paper.committed / entry.name):
      run(entry, paper, by_name, console)
  if not paper.results_dir:
    tables.main()
  show(wanted, paper, console)


if __name__ == "__main__":
  main()
