"""Winning tickets: found, kept in a file, compared, and trained with zeros held."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsm_optax
from experiments import models
from experiments.jobs.ticket_file import Ticket
from experiments.jobs.tickets import controls, main, shuffled
from experiments.run.weights import load_weights

SHORT = ["--base.epochs", "4", "--gsm.epochs", "6", "--ticket-epochs", "3"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """The folder of a short job by GSM."""
  folder = tmp_path_factory.mktemp("tickets") / "gsm"
  main([*SHORT, "--out", str(folder)])
  return folder


def test_the_ticket_is_what_gsm_keeps_of_the_initial_params(finished):
  ticket = Ticket.load(finished / "ticket.npz")
  pruned = load_weights(finished / "found" / "pruned_params")
  for layer in ("dense1", "dense2", "dense3"):
    np.testing.assert_array_equal(
      ticket.mask[layer]["kernel"], pruned[layer]["kernel"] != 0
    )
  init_key, _ = jax.random.split(jax.random.key(0))
  initial, _ = models.load("lenet300", (8, 8, 1), 10).init(init_key)
  jax.tree.map(
    np.testing.assert_array_equal,
    ticket.initial,
    gsm_optax.apply_mask(initial, ticket.mask),
  )
  assert ticket.report.kept == 2510
  assert ticket.source == {"method": "gsm", "preset": "digits", "seed": 0}


def test_what_is_trained_keeps_the_zeros_of_its_mask(finished):
  ticket = Ticket.load(finished / "ticket.npz")
  trained = load_weights(finished / "ticket" / "params")
  initial = ticket.initial["dense1"]["kernel"]
  kernel, mask = trained["dense1"]["kernel"], ticket.mask["dense1"]["kernel"]
  assert not kernel[~mask].any()
  # Not all: from a sparse start some units stay dead for long.
  assert (kernel[mask] != initial[mask]).mean() > 0.1


def test_the_results_hold_the_ticket_and_its_controls(finished):
  results = json.loads((finished / "results.json").read_text())
  assert results["method"] == "gsm"
  assert results["num_kept"] == 2510
  # In three epochs the ticket learns more than what differs in one thing only.
  ticket = results["ticket_accuracy"]
  assert ticket > results["reinitialised_accuracy"]
  assert ticket > results["shuffled_accuracy"]
  lines = (finished / "ticket" / "metrics.jsonl").read_text().splitlines()
  assert json.loads(lines[-1])["accuracy"] == ticket


def test_each_control_changes_one_thing(finished):
  model = models.load("lenet300", (8, 8, 1), 10)
  ticket = Ticket.load(finished / "ticket.npz")
  three = controls(ticket, model, seed=0)
  assert list(three) == ["ticket", "reinitialised", "shuffled"]
  places, others = three["shuffled"], three["reinitialised"]
  for layer, mask in ((name, ticket.mask[name]["kernel"]) for name in ticket.mask):
    np.testing.assert_array_equal(others.mask[layer]["kernel"], mask)
    assert places.mask[layer]["kernel"].sum() == mask.sum()
    assert (places.mask[layer]["kernel"] != mask).any()
    values = ticket.initial[layer]["kernel"]
    assert (others.initial[layer]["kernel"][mask] != values[mask]).all()
    both = mask & places.mask[layer]["kernel"]
    np.testing.assert_array_equal(places.initial[layer]["kernel"][both], values[both])


@pytest.mark.parametrize("method", ["magnitude", "random"])
def test_other_ways_to_find_a_ticket(method, finished, tmp_path, capsys):
  found = ["--found", str(finished / "found")] if method == "magnitude" else []
  command = [*SHORT, "--method", method, *found, "--out", str(tmp_path)]
  main([*command, "--quiet"])
  ticket = Ticket.load(tmp_path / "ticket.npz")
  assert ticket.report.kept == 2510
  if method == "magnitude":
    base = load_weights(finished / "found" / "base")["params"]
    mask = gsm_optax.magnitude_mask(base, 1 / 20)
    jax.tree.map(np.testing.assert_array_equal, ticket.mask, mask)
  else:
    densities = [layer.density for layer in ticket.report.layers]
    np.testing.assert_allclose(densities, 1 / 20, atol=0.025)
    assert not (tmp_path / "found").exists()
  output = capsys.readouterr().out
  assert output.count("\n") == 1
  assert f"ticket by {method}" in output
  # Resumed after the end it gives the same, and trains nothing.
  before = json.loads((tmp_path / "results.json").read_text())
  main([*command, "--quiet", "--resume"])
  after = json.loads((tmp_path / "results.json").read_text())
  assert after["ticket_accuracy"] == before["ticket_accuracy"]
  other = "gsm" if method == "random" else "random"
  with pytest.raises(SystemExit, match=f"another run, with method {method} instead"):
    main([*SHORT, "--method", other, "--resume", "--out", str(tmp_path)])
  assert Ticket.load(tmp_path / "ticket.npz").source["method"] == method


def test_quiet_prints_one_line_of_all_that_is_run(tmp_path, capsys):
  short = ["--base.epochs", "1", "--gsm.epochs", "1", "--ticket-epochs", "1"]
  main([*short, "--quiet", "--out", str(tmp_path)])
  assert capsys.readouterr().out.count("\n") == 1


def test_a_ticket_is_not_taken_from_a_run_of_other_numbers(finished, tmp_path):
  command = [*SHORT, "--found", str(finished / "found"), "--out", str(tmp_path / "t")]
  with pytest.raises(SystemExit, match=r"density 0.05 instead of 0.1"):
    main([*command, "--density", "0.1"])


@pytest.mark.parametrize(
  ("found", "message"),
  [("nowhere", "holds no finished run"), ("found", "this job's own files go")],
)
def test_a_refused_source_leaves_what_is_there(found, message, tmp_path):
  short = ["--base.epochs", "1", "--gsm.epochs", "1", "--ticket-epochs", "0"]
  command = [*short, "--quiet", "--out", str(tmp_path)]
  main(command)
  before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
  with pytest.raises(SystemExit, match=message):
    main([*command, "--found", str(tmp_path / found)])
  assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_random_ticket_is_found_nowhere(tmp_path):
  command = [*SHORT, "--method", "random", "--out", str(tmp_path / "t")]
  with pytest.raises(SystemExit, match="--found makes no sense"):
    main([*command, "--found", str(tmp_path)])


def test_a_density_of_less_than_one_weight_is_refused(tmp_path):
  command = ["--density", "1e-9", "--method", "random", "--out", str(tmp_path / "t")]
  with pytest.raises(SystemExit, match="less than one weight"):
    main([*SHORT, *command])


def test_a_shuffled_mask_keeps_the_number_of_each_layer():
  mask = {"kernel": jnp.eye(20, dtype=bool), "bias": jnp.ones(3, bool)}
  other = shuffled(mask, jax.random.key(0))
  assert other["kernel"].sum() == 20
  assert (other["kernel"] != mask["kernel"]).any()
  np.testing.assert_array_equal(other["bias"], mask["bias"])


def test_the_command_line_inspects_and_compares(finished, capsys):
  path = str(finished / "ticket.npz")
  main(["inspect", path])
  output = capsys.readouterr().out
  assert "20.0× ticket (method gsm, preset digits, seed 0)" in output
  assert "dense2/kernel" in output
  main(["compare", path, path])
  assert "100.0%" in capsys.readouterr().out
