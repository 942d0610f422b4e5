"""A ticket's file gives back what was saved, and what is no ticket is refused."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments.jobs.ticket_file import Ticket, TicketError, overlap
from experiments.jobs.tickets import main


def ticket_of(masks):
  initial = jax.tree.map(lambda mask: np.where(mask, 0.5, 0).astype(np.float32), masks)
  return Ticket(masks, initial, {"method": "random"})


def test_a_file_gives_back_what_was_saved(tmp_path):
  rng = np.random.default_rng(0)
  masks = {"a": {"kernel": rng.random((5, 4)) < 0.5, "bias": np.ones(4, bool)}}
  ticket = ticket_of(masks)
  ticket.save(tmp_path / "t.npz")
  loaded = Ticket.load(tmp_path / "t.npz")
  jax.tree.map(np.testing.assert_array_equal, loaded[:2], ticket[:2])
  assert loaded.source == ticket.source


def test_what_is_no_ticket_is_refused_in_a_sentence(tmp_path):
  (tmp_path / "text.npz").write_text("no archive")
  np.savez(tmp_path / "other.npz", source="{}", weights=np.ones(3))
  for name in ("missing.npz", "text.npz", "other.npz"):
    with pytest.raises(SystemExit, match=f"error: .*{name} is no ticket: (?!.*pickle)"):
      main(["inspect", str(tmp_path / name)])
  with pytest.raises(SystemExit, match=r"usage: python -m experiments.tickets"):
    main(["compare", str(tmp_path / "text.npz")])


def test_an_edited_ticket_is_refused_in_a_sentence(tmp_path):
  mask, initial = np.ones((2, 3), bool), np.ones((2, 3), np.float32)
  right = {"source": "{}", "mask/a": mask, "initial/a": initial}
  np.savez(tmp_path / "t.npz", **right)
  assert Ticket.load(tmp_path / "t.npz").report.kept == 6
  for wrong in (
    {"source": "[]"},
    {"mask/a": np.ones((2, 3))},
    {"initial/a": np.ones((3, 2), np.float32)},
    {"initial/a": np.full((2, 3), "x")},
    {"mask/b": mask},
  ):
    np.savez(tmp_path / "t.npz", **{**right, **wrong})
    with pytest.raises(TicketError, match=r"t\.npz is no ticket"):
      Ticket.load(tmp_path / "t.npz")


def test_overlap_counts_what_both_keep():
  first = ticket_of({"a": np.array([[1, 1], [0, 0]], bool), "b": np.ones(3, bool)})
  second = ticket_of({"a": np.array([[0, 1], [1, 1]], bool), "b": np.ones(3, bool)})
  layer, total = overlap(first, second)
  assert layer == ("a", 2, 3, 1, 1.5)
  assert total[1:] == layer[1:]
  assert layer.jaccard == 1 / 4
  with pytest.raises(TicketError, match="not of the same model"):
    overlap(first, ticket_of({"a": np.ones((2, 3), bool), "b": np.ones(3, bool)}))


NASTY = "a\x1b[31m\x07[bold]é\u202e[/]"


@pytest.mark.parametrize(
  "arrays",
  [
    {"mask/a": np.ones((0, 3), bool), "initial/a": np.ones((0, 3), np.float32)},
    {"mask/a": np.ones(3, bool), "initial/a": np.ones(3, np.float32)},
    {},
    {
      "mask/a": np.ones((2, 3), bool),
      "initial/a": np.ones((2, 3), np.float32),
      "mask/a/b": np.ones((2, 3), bool),
      "initial/a/b": np.ones((2, 3)),
    },
    {
      "mask" + "/a" * 2000: np.ones((2, 3), bool),
      "initial" + "/a" * 2000: np.ones((2, 3), np.float32),
    },
    {NASTY: np.ones((2, 3), bool)},
  ],
  ids=["empty", "one-dimensional", "nothing", "nested twice", "deep", "nasty"],
)
def test_odd_masks_are_refused_in_a_sentence(tmp_path, arrays):
  np.savez(tmp_path / "t.npz", source="{}", **arrays)
  for command in (["inspect"], ["compare", str(tmp_path / "t.npz")]):
    with pytest.raises(SystemExit, match=r"error: .*t\.npz is no ticket: ") as exit_:
      main([*command, str(tmp_path / "t.npz")])
    assert str(exit_.value).isprintable()


def test_names_never_reach_the_terminal_raw(tmp_path, capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "200")
  ticket = ticket_of({NASTY: np.ones((2, 3), bool)})
  ticket = ticket._replace(source={NASTY: NASTY})
  ticket.save(tmp_path / "t.npz")
  for command in (["inspect"], ["compare", str(tmp_path / "t.npz")]):
    main([*command, str(tmp_path / "t.npz")])
    printed = capsys.readouterr().out
    assert all(line.isprintable() for line in printed.split("\n"))
    assert r"a\x1b[31m\x07[bold]é\u202e[/]" in "".join(printed.split())


def inspect(path, **options):
  command = [sys.executable, "-m", "experiments.tickets", "inspect", str(path)]
  pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
  return subprocess.run(command, **{**pipes, **options})


def test_terminals_that_know_little_or_take_nothing(tmp_path):
  ticket_of({"é": np.ones((2, 3), bool)}).save(tmp_path / "t.npz")
  ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
  done = inspect(tmp_path / "t.npz", env=ascii_only)
  assert (done.returncode, done.stderr) == (0, "")
  assert "1.0x ticket" in done.stdout
  assert r"\xe9" in done.stdout
  if os.path.exists("/dev/full"):
    with open("/dev/full", "w") as full:
      done = inspect(tmp_path / "t.npz", stdout=full)
    assert done.returncode == 1
    assert done.stderr == "error: No space left on device.\n"
