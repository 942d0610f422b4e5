"""The docs build, and what they tell the reader to write runs."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import gsm_optax

ROOT = Path(__file__).parents[1]
NOTES = ROOT / "gsm_optax" / "_threshold" / "README.md"
PAGES = [*sorted((ROOT / "docs").glob("*.md")), NOTES]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks_of(page):
  """Its Python blocks, after as many empty lines as stand before them."""
  text = page.read_text()
  for match in BLOCK.finditer(text):
    line = text.count("\n", 0, match.start(1))
    yield pytest.param(page, "\n" * line + match[1], id=f"{page.name}:{line + 1}")


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_each_block_runs_by_itself(page, block, monkeypatch):
  if "import equinox" in block:
    pytest.importorskip("equinox")
  module = ModuleType("block")
  monkeypatch.setitem(sys.modules, "block", module)  # dataclasses look there
  exec(compile(block, page, "exec"), vars(module))


def test_the_search_in_numbers_is_the_one_that_its_code_makes(capsys):
  (block,) = BLOCK.findall(NOTES.read_text())
  exec(compile(block, NOTES, "exec"), {})
  made = rows_of_numbers(capsys.readouterr().out)
  shown = rows_of_numbers(NOTES.read_text())
  # Other versions of XLA round logarithms differently, and so place candidates.
  assert len(made) == len(shown)
  assert shown == pytest.approx(made, rel=0.1, abs=2)


def rows_of_numbers(text):
  rows = re.findall(r"^\| (\d) \| ([\d,]+) \| ([\d,]+) \| \w+ \|$", text, re.MULTILINE)
  return [int(cell.replace(",", "")) for row in rows for cell in row]


def test_each_block_shows_what_it_did():
  for parameters in BLOCKS:
    _, block = parameters.values
    assert re.search(r"^(assert|print)\b", block, re.MULTILINE), parameters.id


def test_the_api_page_has_every_public_name():
  page = (ROOT / "docs" / "api.md").read_text()
  names = re.findall(r"^::: gsm_optax\.(\w+)$", page, re.MULTILINE)
  assert sorted(names) == sorted(gsm_optax.__all__)


def test_the_site_builds_without_a_warning(tmp_path):
  pytest.importorskip("mkdocs")
  command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir"]
  result = subprocess.run(
    [*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
  )
  assert result.returncode == 0, result.stderr[-10000:]
  api = (tmp_path / "api" / "index.html").read_text()
  for leftover in (".. math::", ":math:", "`_"):
    assert leftover not in api
  for page in tmp_path.rglob("*.html"):
    text = page.read_text()
    # Formulas are shown, and all else too, without anything from elsewhere.
    assert not re.search(r'(src|rel="stylesheet" href)="(https?:)?//', text)
    assert "arithmatex" not in text
    for formula in re.findall(r"<math.*?</math>", text, re.DOTALL):
      assert not re.search(r"\\|<mi>&(amp;)?</mi>", formula), formula
  assert (tmp_path / "api" / "index.html").read_text().count("<math") > 20
  for picture in ("report.png", "selection.png", "layers.png"):
    assert (tmp_path / "pictures" / picture).exists()
