"""Winning tickets: find a sparse network in a trained one, rewind it, train it alone.

    python -m experiments.tickets [PRESET] --method gsm|magnitude|random [--flags]
    python -m experiments.tickets inspect TICKET.npz
    python -m experiments.tickets compare TICKET.npz TICKET.npz

A ticket is which weights to keep, and the initial values to train them from. `gsm`
trains a base model, trains it on with GSM, and keeps the weights that did not vanish;
`magnitude` keeps the greatest of the base model; `random` keeps any, and trains nothing
to find them. All keep exactly Q weights of the whole model.

The ticket is then trained, its zeros held, as the preset trains with GSM but by the
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
from experiments import prune
from experiments.checkpoints import load_params, save_params
from experiments.configs import ConfigError
from experiments.devices import is_first_process
from experiments.jobs import (
  Job,
  Setup,
  check_base,
  masked_phase,
  parse,
  run_command_line,
  set_up,
)
from experiments.models import Model
from experiments.recording import Display
from experiments.runs import (
  Start,
  load_base,
  read_finished,
  refuse_other_run,
  run_phases,
)
from experiments.surroundings import write_json
from experiments.ticket_file import (
  Ticket,
  TicketError,
  overlap,
  overlap_table,
  table,
)

FILES = (
  *("found", "ticket", "reinitialised", "shuffled", "ticket.npz", "ticket.partial"),
  *("job.json", "job.partial", "results.json", "results.partial"),
)
"""All that a job leaves in its folder."""


@dataclass(frozen=True)
class TicketJob(Job):
  """A configuration, a way to find a ticket in it, and where and how to run it."""

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
      return self.config.gsm_epochs
    return self.ticket_epochs

  @property
  def description(self) -> dict[str, Any]:
    """The configuration as JSON has it, and what else the accuracies depend on."""
    ticket = {"method": self.method, "ticket_epochs": self.epochs}
    return {**super().description, **ticket}

  @property
  def folder(self) -> Path:
    """Where the run's files go."""
    default = f"{self.preset}-ticket-{self.method}-{self.config.seed}"
    return self.out or Path("runs") / default


def shuffled(mask: Any, key: jax.Array) -> Any:
  """As many True in each leaf with two or more dimensions, at random places."""

  def permuted(leaf: jax.Array, key: jax.Array) -> jax.Array:
    if leaf.ndim < 2:
      return leaf
    return jax.random.permutation(key, leaf.ravel()).reshape(leaf.shape)

  return jax.tree.map(permuted, mask, optax.tree.split_key_like(key, mask))


def check_found(job: TicketJob, folder: Path) -> None:
  """Checks that a run in which a ticket is to be found is of the job's numbers.

  Raises:
    ConfigError: if there is nothing to be found in it, the ticket being random.
    CheckpointError: if `folder` holds no finished run, or one of other numbers.
  """
  if job.method == "random":
    raise ConfigError("--found makes no sense with --method random.")
  if job.method == "magnitude":
    check_base(folder, job.description, "--found")
  else:
    wanted = Job(job.preset, job.config).description
    refuse_other_run(read_finished(folder)["config"], wanted, folder, "--found")


def trained_params(job: TicketJob) -> Any:
  """The params that GSM ended with, or for `magnitude` those of the base model."""
  by_gsm = job.method == "gsm"
  folder = job.found or job.folder / "found"
  if job.found is None:
    config = job.config if by_gsm else replace(job.config, gsm_epochs=0)
    # The folder is the job's own: what was begun there is continued.
    finding = Job(job.preset, config, job.data_dir, folder, job.base, True, job.quiet)
    prune.run(finding, shows=not job.quiet)
  return load_params(folder / "params") if by_gsm else load_base(folder).params


def find(job: TicketJob, model: Model) -> Ticket:
  """The job's ticket: the Q greatest weights of a trained network, or any Q."""
  init_key, _ = jax.random.split(jax.random.key(job.config.seed))
  initial, _ = model.init(init_key)
  if job.method == "random":
    key = jax.random.fold_in(init_key, 1)
    scores = optax.tree.random_like(key, initial, jax.random.uniform)
  else:
    scores = trained_params(job)
  mask = gsm_optax.magnitude_mask(scores, job.config.density)
  source = {"method": job.method, "preset": job.preset, "seed": job.config.seed}
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

  By SGD with the base model's momentum, at GSM's learning rates and on its images.
  """
  config, model = job.config, setup.model
  phase = masked_phase(config, setup.steps_per_epoch, name, ticket.mask, job.epochs)
  _, batch_stats = model.init(jax.random.key(config.seed))
  with Display(job.quiet or not is_first_process()) as display:
    display.say(f"Training: {name}")
    outcome = run_phases(
      [phase],
      model,
      setup.data,
      job.folder / name,
      display,
      description=job.description,
      density=config.density,
      batch_size=config.batch_size,
      evaluate_every=config.evaluate_every,
      seed=config.seed,
      start=Start(ticket.initial, batch_stats),
    )
  save_params(job.folder / name / "params", outcome.params)
  kept = gsm_optax.sparsity_report(outcome.params).kept
  assert kept <= ticket.report.kept, "a zero of the ticket did not stay zero"
  return outcome.records[-1]["accuracy"], sum(outcome.wall_seconds.values())


def run(job: TicketJob) -> dict[str, Any]:
  """Runs a job to its end and returns what it writes to ``results.json``.

  Raises:
    DataError: if the data cannot be had.
    ConfigError: if a number does not fit the data, the model or the devices.
    CheckpointError: if the folder holds a run that this one would overwrite, or one
      that it cannot continue.
  """
  config, folder = job.config, job.folder
  if job.epochs < 0:
    raise ConfigError(f"--ticket-epochs must be 0 or more, not {job.epochs}.")
  if job.found:
    check_found(job, job.found)
  setup = set_up(job, FILES, [job.found] if job.found else [])
  ticket = find(job, setup.model)
  if is_first_process():
    ticket.save(folder / "ticket.npz")
  accuracies: dict[str, float] = {}
  wall: dict[str, float] = {}
  for name, control in controls(ticket, setup.model, config.seed).items():
    accuracies[name], wall[name] = train(name, control, job, setup)
  report = ticket.report
  results = {
    "preset": job.preset,
    "method": job.method,
    "model": config.model,
    "dataset": config.dataset,
    "seed": config.seed,
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
      name: round(job.epochs * len(setup.data.train_labels) / seconds)
      for name, seconds in wall.items()
      if seconds
    },
    **setup.environment,
    "config": job.description,
  }
  if is_first_process():
    write_json(folder / "results.json", results)
    show(ticket, results, job)
  return results


def show(ticket: Ticket, results: dict[str, Any], job: TicketJob) -> None:
  """Prints the ticket and the accuracies."""
  accuracies = (
    f"{job.preset}, seed {job.config.seed}, ticket by {job.method}:"
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
    sys.exit(f"error: {error}")
  what = (
    "Find a winning ticket, rewind it, train it alone, beside two controls."
    " `inspect TICKET.npz` and `compare TICKET.npz TICKET.npz` show what was found."
  )
  run_command_line(parse(TicketJob, "tickets", what, arguments), run)


if __name__ == "__main__":
  main()
