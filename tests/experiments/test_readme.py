"""The examples of `experiments/README.md` are what they say."""

import re
from pathlib import Path

from experiments.configs.check import check
from experiments.configs.recipe import Recipe
from experiments.datasets.resident import Resident
from experiments.studies.study import Study

README = Path(__file__).parents[2] / "experiments" / "README.md"


def test_each_example_makes_what_stands_above_it(tmp_path):
  made = {}
  for block in re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S):
    exec(compile(block, README, "exec"), made)
  assert isinstance(made["load"](held_out=10), Resident)
  assert isinstance(made["MY_RESNET20"], Recipe)
  check(made["MY_RESNET20"])
  assert isinstance(made["STUDY"], Study)
  assert "my-study" in made["STUDY"].tables(tmp_path)
