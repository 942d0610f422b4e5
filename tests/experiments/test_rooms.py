"""Each room of the experiments uses only those that come before it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "experiments"
ROOMS = (
  *("datasets", "models", "train", "configs", "run", "jobs"),
  *("studies", "benchmarks", "pages"),
)
LEAVES = {"markdown"}
"""What uses nothing, and may be used by all."""


def rooms_used(path):
  """The rooms that a file imports from."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom) and node.module:
      names = [node.module]
      if node.module == "experiments":
        names = [f"experiments.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    else:
      continue
    for name in names:
      package, _, rest = name.partition(".")
      if package == "experiments" and rest:
        yield rest.split(".")[0]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_uses_only_those_before_it(room):
  files = sorted((ROOT / room).rglob("*.py"))
  assert files
  allowed = {*ROOMS[: ROOMS.index(room) + 1], *LEAVES}
  for path in files:
    assert set(rooms_used(path)) <= allowed, path


def test_what_lies_beside_the_rooms_is_a_door_or_a_leaf():
  for path in ROOT.glob("*.py"):
    if path.stem in LEAVES:
      assert not set(rooms_used(path))
    elif path.stem != "__init__":
      assert len(path.read_text().splitlines()) < 10, f"{path} is more than a door"
      assert len(set(rooms_used(path))) == 1
