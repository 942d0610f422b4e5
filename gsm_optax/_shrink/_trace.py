"""A model function at given shapes, as equations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from gsm_optax._shrink._analysis import Analysis, Key, Program, needed_equations
from gsm_optax._shrink._parts import Part
from gsm_optax._shrink._rules import RULES
from gsm_optax._shrink._units import Labels, Units
from gsm_optax._shrink._values import Value
from gsm_optax._trees import path_name

RANDOM = frozenset(
  ["random_bits", "random_seed", "random_wrap", "threefry2x32", "rng_bit_generator"]
)

ApplyFn = Callable[..., Any]


class Traced(NamedTuple):
  """A function of params and inputs at given shapes.

  Attributes:
    closed: its equations, which take the leaves of both.
    params: leaves, which may be abstract.
    paths: of the params' leaves, in words.
    inputs: leaves, abstract.
    outputs: the tree of its results, abstract.
  """

  closed: core.ClosedJaxpr
  params: Sequence[Any]
  paths: Sequence[str]
  inputs: Sequence[Any]
  outputs: Any


def abstract(tree: Any) -> Any:
  """Shapes and dtypes of a tree's arrays."""
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), _dtype(leaf)), tree
  )


def _dtype(leaf: Any) -> Any:
  return leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)


def trace(apply_fn: ApplyFn, params: Any, inputs: Sequence[Any]) -> Traced:
  """The function at these shapes.

  Raises:
    ValueError: for what is no function of arrays in inference mode.
  """
  if not callable(apply_fn):
    raise ValueError(
      "apply_fn, the first argument, must be a function of params and inputs, not"
      f" {type(apply_fn).__name__!r}."
    )
  for leaf in jax.tree.leaves(inputs):
    if isinstance(leaf, bool | str) or callable(leaf):
      raise ValueError(
        f"An input is {leaf!r}, and no array: give apply_fn such arguments by"
        " functools.partial."
      )
  with_paths = jax.tree_util.tree_leaves_with_path(params)
  paths = [path_name(path) or "params" for path, _ in with_paths]
  leaves = [leaf for _, leaf in with_paths]
  for path, leaf in zip(paths, leaves, strict=True):
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
      raise ValueError(
        f"{path} of params is {leaf!r}, and no array: pass the arrays alone, as"
        " eqx.partition(model, eqx.is_array) and nnx.split(model) give them."
      )
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
      raise ValueError(
        f"{path} of params has the dtype {leaf.dtype}: params are floating-point."
        " Close over counters, keys and indices in apply_fn."
      )
  for leaf in jax.tree.leaves(inputs):
    dtype = getattr(leaf, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
      raise ValueError("An input is a random key: pass apply_fn in inference mode.")

  def function(params: Any, inputs: Sequence[Any]) -> Any:
    return apply_fn(params, *inputs)

  closed, outputs = jax.make_jaxpr(function, return_shape=True)(
    abstract(params), abstract(tuple(inputs))
  )
  given = jax.tree.leaves(abstract(tuple(inputs)))
  traced = Traced(closed, leaves, paths, given, outputs)
  _refuse(traced)
  return traced


def _refuse(traced: Traced) -> None:
  """Raises a ValueError for functions that are not those of a model in inference."""
  jaxpr = traced.closed.jaxpr
  if any(isinstance(const, jax.core.Tracer) for const in traced.closed.consts):
    raise ValueError(
      "apply_fn closes over a value that has no numbers inside jit or another"
      " transformation: pass it as an input."
    )
  if jaxpr.effects:
    effects = ", ".join(sorted(map(str, jaxpr.effects)))
    raise ValueError(f"apply_fn has side effects ({effects}): pass a pure function.")
  if random := _primitives(jaxpr).intersection(RANDOM):
    raise ValueError(
      f"apply_fn draws random numbers ({min(random)}): pass it in inference mode,"
      " without dropout."
    )
  outputs = [var for var in jaxpr.outvars if isinstance(var, core.Var)]
  for var, path in zip(jaxpr.invars, traced.paths, strict=False):
    if var in outputs:
      raise ValueError(
        f"{path} of params is an output of apply_fn: let it return what the model"
        " computes alone, and no parameters or statistics."
      )
  if _used(jaxpr).isdisjoint(jaxpr.invars[: len(traced.params)]):
    raise ValueError("apply_fn does not use its params.")


def _used(jaxpr: core.Jaxpr) -> set[core.Var]:
  """The variables that a result is computed from."""
  atoms = [atom for _, eqn in needed_equations(jaxpr) for atom in eqn.invars]
  return {atom for atom in atoms if isinstance(atom, core.Var)}


def _primitives(jaxpr: core.Jaxpr) -> set[str]:
  """Names of all primitives that matter, those of inner functions too."""
  names: set[str] = set()
  for _, eqn in needed_equations(jaxpr):
    names.add(eqn.primitive.name)
    for inner in jax.tree.leaves(
      list(eqn.params.values()),
      is_leaf=lambda x: isinstance(x, (core.Jaxpr, core.ClosedJaxpr)),
    ):
      if isinstance(inner, core.ClosedJaxpr):
        names |= _primitives(inner.jaxpr)
      elif isinstance(inner, core.Jaxpr):
        names |= _primitives(inner)
  return names


class Walk(NamedTuple):
  """A function with what is known of its values.

  Attributes:
    analysis: what the walk has found.
    program: the function.
    params: what is known of its params' leaves.
    inputs: of its inputs' leaves.
  """

  analysis: Analysis
  program: Program
  params: Sequence[Value]
  inputs: Sequence[Value]


def walk(
  traced: Traced, units: Units, parts: Mapping[Key, Sequence[Part]] | None = None
) -> Walk:
  """Walks through a function, and fixes what its results need."""
  analysis = Analysis(units, RULES, parts or {})
  params = [
    analysis.parameter(leaf, ("param", number))
    for number, leaf in enumerate(traced.params)
  ]
  inputs = [
    analysis.input(leaf.shape, leaf.dtype, ("input", number))
    for number, leaf in enumerate(traced.inputs)
  ]
  closed = traced.closed
  program = analysis.call(closed.jaxpr, closed.consts, [*params, *inputs], ())
  _refuse_statistics(units, program.outs, traced, params)
  for value in program.outs:
    value.fix(units, "an output")
  used = _used(closed.jaxpr)
  for var, value in zip(closed.jaxpr.invars, params, strict=False):
    if var not in used:
      value.fix(units, "not used")
  for param in params:
    for axis in filter(len, param.axes):  # of which something has to be left
      nodes = np.unique(units.find(axis.labels)).tolist()
      common = frozenset.intersection(*map(units.members, nodes))
      units.fix(np.array(sorted(common), np.int64), "all of the axis goes at once")
  return Walk(analysis, program, params, inputs)


def _names(tree: Any) -> list[str]:
  return [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def _refuse_statistics(
  units: Units, outs: Sequence[Value], traced: Traced, params: Sequence[Value]
) -> None:
  """Raises a ValueError for a result that has the name and units of a leaf of params.

  By its units alone any result of one example would be an update of the last bias.
  """
  found = {
    name: path
    for value, name in zip(outs, _names(traced.outputs), strict=True)
    for param, path in zip(params, traced.paths, strict=True)
    if value.axes and value.shape == param.shape and _namesakes(name, path)
    if all(
      _tied(units, a.labels, b.labels)
      for a, b in zip(value.axes, param.axes, strict=True)
    )
  }
  if found:
    name, path = next(iter(found.items()))
    raise ValueError(
      f"Output {name or '0'} of apply_fn is an update of {path} of params: let it"
      " return what the model computes alone, and no parameters or statistics."
    )


def _namesakes(output: str, path: str) -> bool:
  last = output.split("/")[-1]
  return last == path.split("/")[-1] and not last.isdecimal() and last != ""


def _tied(units: Units, a: Labels, b: Labels) -> bool:
  a, b = units.find(a), units.find(b)
  return bool((a == b).all() and not units.stays(a).any())
