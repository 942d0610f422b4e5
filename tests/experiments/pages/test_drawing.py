"""Pictures are drawn by their names, beside the results that they are made of."""

import pytest

from experiments.pages import figures
from experiments.studies import studies
from tests.experiments.studies.committed import write_results

NAMES = ["compression", "layers", "momentum", "reactivation", "shrinkage"]


def pictures(folder):
  return sorted(path.stem for path in folder.glob("*.png"))


def test_each_is_drawn_by_name(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(figures, "RESULTS", tmp_path)
  write_results(tmp_path / "mnist")
  figures.main(["layers", "shrinkage"])
  assert pictures(tmp_path / "mnist") == ["layers", "shrinkage"]
  assert "layers.png" in capsys.readouterr().out
  figures.main([])
  assert pictures(tmp_path / "mnist") == NAMES


def test_what_has_not_been_run_is_not_drawn(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(figures, "RESULTS", tmp_path)
  with pytest.raises(SystemExit, match="runs what is missing"):
    figures.main(["layers"])
  assert "layers: not drawn" in capsys.readouterr().err


def test_what_there_is_not_is_answered_with_what_there_is():
  with pytest.raises(SystemExit, match=r"no layer; choose from .*layers, momentum"):
    figures.main(["layer"])


def test_no_two_studies_have_a_picture_or_a_table_of_one_name(tmp_path):
  for names in (
    [name for study in studies().values() for name in study.figures],
    [name for study in studies().values() for name in study.tables(tmp_path)],
  ):
    assert len(set(names)) == len(names)
