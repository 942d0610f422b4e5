"""The examples of `experiments/README.md` are what they say."""

import re
from pathlib import Path

import jax.numpy as jnp
from flax import nnx

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
  network = made["build"]((8, 8, 1), 10, nnx.Rngs(0), width=4)
  assert network(jnp.ones((2, 8, 8, 1))).shape == (2, 10)
  assert isinstance(made["MY_RESNET20"], Recipe)
  check(made["MY_RESNET20"])
  assert isinstance(made["STUDY"], Study)
  assert "my-study" in made["STUDY"].tables(tmp_path)
