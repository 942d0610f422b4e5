"""Winning tickets: find a sparse network in a trained one, rewind it, train it alone.

    python -m experiments.tickets [RECIPE] --method gsm|magnitude|random [--flags]
    python -m experiments.tickets inspect TICKET.npz
    python -m experiments.tickets compare TICKET.npz TICKET.npz

A ticket is which weights to keep, and the initial values to train them from. `gsm`
trains a base model, trains it on with GSM, and keeps the weights that did not vanish;
`magnitude` keeps the greatest of the base model; `random` keeps any, and trains nothing
to find them. All keep exactly Q weights of the whole model.

The ticket is then trained, its zeros held, as the recipe trains under GSM but by the
base model's SGD, beside the controls of the lottery-ticket paper (Frankle and Carbin,
2019), each of which changes one thing: the same mask from *other initial values*, and
as many weights of each layer at *other places*.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import optax
from rich.console import Console

import gsm_optax
from experiments.configs.check import ConfigError
from experiments.jobs import prune
from experiments.jobs.command_line import Job, parse, run_command_line
from experiments.jobs.setup import Setup, find_base, set_up
from experiments.jobs.ticket_file import (
  Ticket,
  TicketError,
  overlap,
  overlap_table,
  table,
)
from experiments.models import Model
from experiments.run.errors import unwritable
from experiments.run.folder import finished, refuse_other_run
from experiments.run.stages import Start
from experiments.run.terminal import on_any_terminal, printable
from experiments.train.devices import is_first_process
from experiments.train.kernels import kernel_mask

FILES = (
  *("found", "ticket", "reinitialised", "shuffled", "ticket.npz"),
  *("job.json", "results.json", "lock"),
)
"""All that a job leaves in its folder."""


@dataclass(frozen=True)
class TicketJob(Job):
  """A recipe, a way to find a ticket in it, and where and how to run it."""

  method: Literal["gsm", "magnitude", "random"] = "gsm"
  """How to find the ticket."""
  found: Path | None = None
  """Folder of a finished run of experiments.prune to find it in (default: run it)."""
  ticket_epochs: int | None = None
  """Epochs for which to train it (default: as many as GSM's)."""

  @property
  def epochs(self) -> int:
    """Epochs for which to train it."""
    if self.ticket_epochs is None:
      return self.recipe.gsm.epochs
    return self.ticket_epochs

  @property
  def description(self) -> dict[str, Any]:
    """What the run is, and what else the accuracies depend on."""
    ticket = {"method": self.method, "ticket_epochs": self.epochs}
    return {**super().description, **ticket}

  @property
  def folder(self) -> Path:
    """Where the run's files go."""
    default = f"{self.preset}-ticket-{self.method}-{self.recipe.seed}"
    return self.out or Path("runs") / default


def shuffled(mask: Any, key: jax.Array) -> Any:
  """As many True in each kernel, at random places."""

  def permuted(leaf: jax.Array, key: jax.Array, is_kernel: bool) -> jax.Array:
    if not is_kernel:
      return leaf
    return jax.random.permutation(key, leaf.ravel()).reshape(leaf.shape)

  keys = optax.tree.split_key_like(key, mask)
  return jax.tree.map(permuted, mask, keys, kernel_mask(mask))


def check_found(job: TicketJob, folder: Path) -> None:
  """Checks that a run in which a ticket is to be found is of the job's numbers.

  Raises:
    ConfigError: if there is nothing to be found in it, the ticket being random.
    RunError: if `folder` holds no finished run, or one of other numbers.
  """
  if job.method == "random":
    raise ConfigError("--found makes no sense with --method random.")
  if job.method == "magnitude":
    find_base(folder, job.description, "--found")
  else:
    wanted = Job(job.preset, job.recipe).description
    saved = finished(folder, "--found").description
    refuse_other_run(saved, wanted, folder, "--found")


def trained_params(job: TicketJob) -> Any:
  """The params that GSM ended with, or for `magnitude` those of the base model."""
  by_gsm = job.method == "gsm"
  folder = job.found or job.folder / "found"
  if job.found is None:
    recipe = job.recipe
    if not by_gsm:
      recipe = replace(recipe, gsm=replace(recipe.gsm, epochs=0))
    # The folder is the job's own: what was begun there is continued.
    finding = Job(
      *(job.preset, recipe, job.data_dir, folder, job.base),
      resume=True,
      stop_after=job.stop_after,
      quiet=job.quiet,
    )
    prune.run(finding, shows=not job.quiet)
  run = finished(folder, "--found")
  return run.weights("params") if by_gsm else run.weights("base")["params"]


def find(job: TicketJob, model: Model) -> Ticket:
  """The job's ticket: the Q greatest weights of a trained network, or any Q."""
  init_key, _ = jax.random.split(jax.random.key(job.recipe.seed))
  initial, _ = model.init(init_key)
  if job.method == "random":
    key = jax.random.fold_in(init_key, 1)
    scores = optax.tree.random_like(key, initial, jax.random.uniform)
  else:
    scores = trained_params(job)
  mask = gsm_optax.magnitude_mask(scores, job.recipe.density)
  source = {"method": job.method, "preset": job.preset, "seed": job.recipe.seed}
  initial = gsm_optax.apply_mask(initial, mask)
  mask, initial = jax.device_get((mask, initial))
  return Ticket(mask, initial, source)


def controls(ticket: Ticket, model: Model, seed: int) -> dict[str, Ticket]:
  """The ticket, and what it is to be compared with, by name."""
  init_key, _ = jax.random.split(jax.random.key(seed))
  key, shuffle_key = jax.random.split(jax.random.fold_in(init_key, 2))
  others, _ = model.init(key)
  initial, _ = model.init(init_key)
  places = shuffled(ticket.mask, shuffle_key)
  return {
    "ticket": ticket,
    "reinitialised": Ticket(
      ticket.mask, gsm_optax.apply_mask(others, ticket.mask), ticket.source
    ),
    "shuffled": Ticket(places, gsm_optax.apply_mask(initial, places), ticket.source),
  }


def train(
  name: str, ticket: Ticket, job: TicketJob, setup: Setup
) -> tuple[float, float]:
  """The accuracy that a ticket is trained to, its zeros held, and the seconds it took.

  By the base model's optimizer, at GSM's learning rates and on its images.
  """
  stage = setup.masked_stage(name, ticket.mask, job.epochs)
  _, batch_stats = setup.model.init(jax.random.key(job.recipe.seed))
  outcome = setup.train_part(stage, Start(ticket.initial, batch_stats))
  kept = gsm_optax.sparsity_report(outcome.params).kept
  assert kept <= ticket.report.kept, "a zero of the ticket did not stay zero"
  return outcome.records[-1]["accuracy"], sum(outcome.wall_seconds.values())


def run(job: TicketJob) -> dict[str, Any]:
  """Runs a job to its end and returns what it writes to ``results.json``.

  Raises:
    DataError: if the data cannot be had.
    ConfigError: if a number does not fit the data, the model or the devices.
    RunError: if the folder holds a run that this one would overwrite, or one that it
      cannot continue.
  """
  if job.epochs < 0:
    raise ConfigError(f"--ticket-epochs must be 0 or more, not {job.epochs}.")
  if job.found:
    check_found(job, job.found)
  with set_up(job, FILES, [job.found] if job.found else []) as setup:
    ticket = find(job, setup.model)
    if is_first_process():
      with unwritable(job.folder):
        ticket.save(job.folder / "ticket.npz")
    accuracies, wall = dict[str, float](), dict[str, float]()
    for name, control in controls(ticket, setup.model, job.recipe.seed).items():
      accuracies[name], wall[name] = train(name, control, job, setup)
    report = ticket.report
    results = {
      "preset": job.preset,
      "method": job.method,
      "model": job.recipe.model.name,
      "dataset": job.recipe.data.name,
      "seed": job.recipe.seed,
      "ticket_accuracy": accuracies["ticket"],
      "reinitialised_accuracy": accuracies["reinitialised"],
      "shuffled_accuracy": accuracies["shuffled"],
      "density": report.density,
      "compression_ratio": report.compression_ratio,
      "num_prunable": report.size,
      "num_kept": report.kept,
      "layers": report.to_dict()["layers"],
      "wall_seconds": {**wall, "total": sum(wall.values())},
      "images_per_second": {
        name: round(job.epochs * setup.data.train_size / seconds)
        for name, seconds in wall.items()
        if seconds
      },
      **setup.environment,
      "config": setup.folder.description,
    }
    if is_first_process():
      setup.folder.write_json("results.json", results)
  if is_first_process():
    show(ticket, results, job)
  return results


def show(ticket: Ticket, results: dict[str, Any], job: TicketJob) -> None:
  """Prints the ticket and the accuracies."""
  accuracies = (
    f"{job.preset}, seed {job.recipe.seed}, ticket by {job.method}:"
    f" {results['ticket_accuracy']:.2f} %, reinitialised"
    f" {results['reinitialised_accuracy']:.2f} %, shuffled"
    f" {results['shuffled_accuracy']:.2f} %"
  )
  console = Console(highlight=False)
  if job.quiet:
    print(accuracies)
    return
  console.print(table(ticket))
  console.print(accuracies, soft_wrap=True)
  console.print(f"All files: {job.folder}", soft_wrap=True)


@on_any_terminal
def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  arguments = sys.argv[1:] if arguments is None else list(arguments)
  command = arguments[0] if arguments else None
  try:
    if command in ("inspect", "compare"):
      paths = [Path(name) for name in arguments[1:]]
      if len(paths) != ("inspect", "compare").index(command) + 1:
        usage = {"inspect": "TICKET.npz", "compare": "TICKET.npz TICKET.npz"}
        sys.exit(f"usage: python -m experiments.tickets {command} {usage[command]}")
      tickets = [Ticket.load(path) for path in paths]
      Console().print(
        table(*tickets) if command == "inspect" else overlap_table(overlap(*tickets))
      )
      return
  except TicketError as error:
    sys.exit(f"error: {printable(str(error))}")
  what = (
    "Find a winning ticket, rewind it, train it alone, beside two controls."
    " `inspect TICKET.npz` and `compare TICKET.npz TICKET.npz` show what was found."
  )
  run_command_line(parse(TicketJob, "tickets", what, arguments), run)
