"""The pictures show what is in the committed files."""

import numpy as np
import pytest

from experiments.studies.mnist import figures
from tests.experiments.studies.committed import CONFIGS, write_results


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp("results")
  write_results(folder, config=CONFIGS[request.param])
  return folder


def lines(axes):
  """The points of each line, by its label."""
  return {
    str(line.get_label()): (np.array(line.get_xdata()), np.array(line.get_ydata()))
    for line in axes.get_lines()
  }


def test_momentum_shows_what_has_vanished_and_what_pruning_leaves(folder):
  left, _, right = figures.momentum(folder).axes
  for beta in ("0.9", "0.95", "0.98", "0.99"):
    epochs, shares = lines(left)[f"β = {beta}"]
    np.testing.assert_array_equal(epochs, range(5))
    np.testing.assert_allclose(shares, [0, 10, 20, 30, 40])
    np.testing.assert_allclose(lines(right)[f"β = {beta}"][1][1:], [91, 92, 93, 94])


def test_reactivation_shows_both_runs(folder):
  left, right = figures.reactivation(folder).axes
  epochs, shares = lines(left)["of these, had been active before"]
  np.testing.assert_allclose(shares, 20 / (epochs + 1))
  assert set(lines(right)) == {
    "chosen at every step: 94.00 %",
    "fixed after the first epoch: 94.00 %",
  }


def test_shrinkage_is_relative_to_the_base_model(folder):
  (axes,) = figures.shrinkage(folder).axes
  measured = lines(axes)["median |w| of all weights, measured"]
  np.testing.assert_allclose(measured[1], [1, 0.1, 0.01, 1e-3, 1e-4])
  _, iterated = lines(axes)["update, iterated"]
  _, formula = lines(axes)["exp(−Σ αη/(1−β))"]
  assert len(iterated) == len(formula) == 4 * (60_000 // 256)
  assert (np.diff(formula) < 0).all()
  assert iterated[200] > formula[200]  # the momentum needs a while


def test_compression_has_a_line_for_each_way(folder):
  (axes,) = figures.compression(folder).axes
  drawn = lines(axes)
  np.testing.assert_array_equal(drawn["GSM"][0], [12, 30, 60, 100])
  np.testing.assert_array_equal(drawn["magnitude, uniform, one shot"][1], [50] * 4)
  assert "base, 98.00 %" in drawn


def test_layers_stand_side_by_side(folder):
  for axes in figures.layers(folder).axes:
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, [1, 20, 1, 20])
