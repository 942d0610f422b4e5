"""What a run shows while it goes on and leaves behind: lines, a bar, TensorBoard."""

import contextlib
import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
from rich.console import Console
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  TextColumn,
  TimeRemainingColumn,
)
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2, summary_pb2

from experiments.run.errors import unwritable
from experiments.run.files import writing

# Their classes are made at run time.
event_proto: Any = event_pb2
summary_proto: Any = summary_pb2


class Metrics:
  """The evaluations of a run, one JSON object a line, and as TensorBoard events."""

  def __init__(self, folder: Path, records: list[dict[str, Any]], writes: bool = True):
    """Continues after `records`, which take the place of what the folder has.

    Raises:
      RunError: if they cannot be written.
    """
    self.records = list(records)
    self._folder = folder
    self._file = self._events = None
    if not writes:
      return
    with unwritable(folder):
      path = folder / "metrics.jsonl"
      with writing(path) as partial:
        partial.write_text("".join(json.dumps(record) + "\n" for record in records))
      self._file = path.open("a")
      self._events = _events(folder / "tensorboard", records)

  def add(self, record: dict[str, Any]) -> None:
    """Appends one evaluation.

    Raises:
      RunError: if it cannot be written.
    """
    self.records.append(record)
    if not self._file or not self._events:
      return
    scalars = [
      summary_proto.Summary.Value(tag=name, simple_value=value)
      for name, value in record.items()
      if isinstance(value, float)
    ]
    event = event_proto.Event(
      wall_time=time.time(),
      step=record["total_epochs"],
      summary=summary_proto.Summary(value=scalars),
    )
    with unwritable(self._folder):
      self._file.write(json.dumps(record) + "\n")
      self._file.flush()
      self._events.write_event(event)
      self._events.flush()

  def close(self) -> None:
    """Closes the files; what was added is in them."""
    for file in (self._file, self._events):
      if file:
        # After an error the same one again.
        with contextlib.suppress(OSError):
          file.close()


def _events(folder: Path, records: list[dict[str, Any]]) -> EventsWriter:
  """A new file of TensorBoard events, written at once.

  The package's own writer has a thread for it, and waits for ever if that has died of a
  full disk.
  """
  folder.mkdir(exist_ok=True)
  events = EventsWriter(str(folder.absolute() / "events"))
  if records:
    # What lies behind the last of them was recorded by a run that was interrupted.
    log = event_proto.SessionLog(status=event_proto.SessionLog.START)
    step = records[-1]["total_epochs"] + 1
    events.write_event(event_proto.Event(step=step, session_log=log))
  return events


class Display:
  """A progress bar on a terminal, plain lines elsewhere, nothing if quiet."""

  def __init__(self, quiet: bool):
    """Shows nothing yet: see `start`."""
    self.console = Console(highlight=False)
    self._quiet = quiet
    self._values: dict[str, str] = {}
    self._bar = None
    if self.console.is_terminal and not quiet:
      self._bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[values]}"),
        TimeRemainingColumn(),
        console=self.console,
      )

  def start(self, total_epochs: int, done: int) -> None:
    """Begins with `done` of `total_epochs`."""
    self._total, self._evaluated = total_epochs, []
    if self._bar:
      self._task = self._bar.add_task("", total=total_epochs, completed=done, values="")

  def __enter__(self) -> Self:
    if self._bar:
      self._bar.start()
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    if self._bar:
      self._bar.stop()

  def say(self, text: str) -> None:
    """One message, unless quiet."""
    if not self._quiet:
      self.console.print(text, soft_wrap=True, markup=False)

  def epoch(self, phase: str, total_epochs: int, loss: jax.Array) -> None:
    """After each epoch; waits for the device only where somebody looks on."""
    if self._bar:
      self._values["loss"] = f"loss {float(loss):.4f}"
      self._bar.update(self._task, description=phase, completed=total_epochs)
      self._show_values()

  def _show_values(self) -> None:
    if self._bar:
      self._bar.update(self._task, values="  ".join(self._values.values()))

  def evaluation(self, record: dict[str, Any]) -> None:
    """After each evaluation."""
    self._values["accuracy"] = f"accuracy {record['accuracy']:.2f} %"
    self._values["pruned"] = f"if pruned now {record['pruned_accuracy']:.2f} %"
    if self._bar:
      self._show_values()
    elif not self._quiet:
      done = record["total_epochs"]
      left = self._time_left(done)
      loss = "" if record["loss"] is None else f"loss {record['loss']:.4f}  "
      print(
        f"{record['phase']} epoch {record['epoch']}: {loss}accuracy"
        f" {record['accuracy']:.2f} %  if pruned now {record['pruned_accuracy']:.2f} %"
        f"  |w| at rank Q {record['magnitude_at_q']:.1e}, 1.25 Q"
        f" {record['magnitude_at_1.25q']:.1e}  {left}",
        flush=True,
      )

  def _time_left(self, done: int) -> str:
    """By the epochs since the last evaluation; the first ones were compiled besides."""
    self._evaluated.append((done, time.perf_counter()))
    if len(self._evaluated) < 3:
      return ""
    (before, then), (_, now) = self._evaluated[-2:]
    if done == before:
      return ""
    return f"{(self._total - done) * (now - then) / (done - before):.0f} s left"
