"""What a study is: runs, and the tables and pictures that are made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure

from experiments.configs import recipes
from experiments.configs.recipe import Recipe, changed
from experiments.jobs import magnitude, prune, tickets
from experiments.jobs.command_line import Job
from experiments.jobs.magnitude import MagnitudeJob
from experiments.jobs.tickets import TicketJob


@dataclass(frozen=True)
class Entry:
  """One run.

  Attributes:
    name: of its folder; it ends with the seed.
    preset: the name of the recipe that it starts from.
    numbers: what it changes of that, by dotted names.
    job: what is done.
    options: of the job, besides the recipe.
    base: the entry whose base model it starts from.
    found: the entry in whose network a ticket is found.
  """

  name: str
  preset: str
  numbers: Mapping[str, Any] = field(default_factory=dict[str, Any])
  job: Literal["prune", "tickets", "magnitude"] = "prune"
  options: Mapping[str, Any] = field(default_factory=dict[str, Any])
  base: str | None = None
  found: str | None = None

  @property
  def needs(self) -> list[str]:
    """The entries that must have been run before, on this machine."""
    return [name for name in (self.base, self.found) if name]

  @property
  def recipe(self) -> Recipe:
    """What is run."""
    return changed(recipes()[self.preset], self.numbers)

  def prepared(
    self, runs: Path, data_dir: Path | None, stop_after: float | None = None
  ) -> tuple[Job, Callable[..., Any]]:
    """The entry's job, and what runs it.

    Args:
      runs: the folder of the study's runs.
      data_dir: the folder of the data set's files.
      stop_after: seconds after which to stop.
    """
    kinds: dict[str, tuple[type[Job], Callable[..., Any]]] = {
      "prune": (Job, prune.run),
      "tickets": (TicketJob, tickets.run),
      "magnitude": (MagnitudeJob, magnitude.run),
    }
    kind, run = kinds[self.job]
    options: dict[str, Any] = {
      **self.options,
      "data_dir": data_dir,
      "out": runs / self.name,
      "base": runs / self.base if self.base else None,
      "resume": True,
      "stop_after": stop_after,
    }
    if self.found:
      options["found"] = runs / self.found
    return kind(self.preset, self.recipe, **options), run


Tables = Callable[[Path], Mapping[str, str]]
"""Markdown tables by their names in the pages, from the folder of a study's results."""

Figures = Mapping[str, Callable[[Path], Figure]]
"""Pictures by the names of their files, from the same folder."""


@dataclass(frozen=True)
class Study:
  """Runs that belong together.

  Attributes:
    entries: the runs, in the order in which to run them.
    tables: what the pages show of them.
    figures: the pictures of all of them.
  """

  entries: Sequence[Entry]
  tables: Tables
  figures: Figures = field(default_factory=dict[str, Callable[[Path], Figure]])
