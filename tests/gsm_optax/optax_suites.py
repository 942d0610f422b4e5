"""The test suites in Optax's own wheel, on `gsm`, `keep_top_saliency`, `sparsify`.

They need eight devices: `test_optax_suites` starts them. Each of their raw methods is
called once for every set of arguments that it knows, with our optimizers for theirs.

What does not apply, and how our optimizers are set up for theirs:

- Their params are vectors, which by default are not prunable: ``prunable=True``.
- They expect convergence to 3 %: no weight decay, which would keep it away. Half of
  the weights are active at a time, but on Rosenbrock's function all are: it starts
  from zeros, and of two weights the one at zero, without saliency, would stay there.
- `LBFGSTest` is of another optimizer; `test_microbatch_with_explicit_sharding` of none.
- ``reduce_on_plateau`` and the like are wrappers under test there, not here.
"""

import inspect
import itertools
import warnings

import jax
import jax.numpy as jnp
import optax
import pytest
from optax import contrib
from optax._src import alias, alias_test
from optax.contrib import _common_test

import gsm_optax

with warnings.catch_warnings():
  # It makes an optimizer of each kind on import, one of them in a deprecated way.
  warnings.simplefilter("ignore")
  try:
    from optax._src import sharding_test
  except ImportError:  # not in the wheel before Optax 0.2.7
    sharding_test = None


# These annotations must be objects: with `from __future__ import annotations` the test
# of learning rate schedules would find a string and skip itself.
def gsm(
  learning_rate: optax.ScalarOrSchedule,
  density: float = 0.5,
  momentum: float = 0.9,
  accumulator_dtype=None,
):
  return gsm_optax.gsm(
    learning_rate,
    density,
    momentum,
    0.0,
    prunable=True,
    accumulator_dtype=accumulator_dtype,
  )


def top_saliency_sgd(learning_rate: optax.ScalarOrSchedule, density: float = 0.5):
  return optax.chain(
    gsm_optax.keep_top_saliency(density, prunable=True),
    optax.sgd(learning_rate, momentum=0.9),
  )


def sparse_adam(learning_rate: optax.ScalarOrSchedule, density: float = 0.5):
  return gsm_optax.sparsify(
    optax.adam(learning_rate), density, passive_weight_decay=0.0, prunable=True
  )


OPTIMIZERS = {
  "gsm": {"learning_rate": 1e-3},
  "top_saliency_sgd": {"learning_rate": 1e-3},
  "sparse_adam": {"learning_rate": 1e-1},
}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
  for module in (contrib, alias):
    monkeypatch.setattr(module, "gsm", gsm, raising=False)
    monkeypatch.setattr(module, "top_saliency_sgd", top_saliency_sgd, raising=False)
    monkeypatch.setattr(module, "sparse_adam", sparse_adam, raising=False)


def raw(case, name):
  """The method as it was written, before Absl and Chex multiplied it."""
  seen = [method for key, method in vars(case).items() if key.startswith(name)]
  for function in seen:  # grows by what each has wrapped
    if function.__code__.co_name == name:
      return function
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    seen.extend(content for content in cells if inspect.isfunction(content))
  raise LookupError(f"{case.__name__} has no {name}; what does Optax call it now?")


def call(case, name, arguments):
  instance = case(next(method for method in dir(case) if method.startswith(name)))
  instance.variant = jax.jit  # one of Chex's variants, until Optax 0.2.6
  method = raw(case, name)
  known = inspect.signature(method).parameters
  method(instance, **{key: value for key, value in arguments.items() if key in known})


def product(**options):
  return [
    dict(zip(options, values, strict=True))
    for values in itertools.product(*options.values())
  ]


def title(arguments):
  return "-".join(
    getattr(value, "__name__", str(value)) for value in arguments.values()
  )


ALL = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64]
HALF_AND_SINGLE = ["bfloat16", "float32"]
CONTRIB = {
  "test_optimizers_accept_extra_args": product(wrap=[True, False]),
  "test_optimizers": product(
    target=[
      _common_test._setup_parabola,
      _common_test._setup_rosenbrock,
      _common_test._setup_matrix_parabola,
      _common_test._setup_mixed_tensor_target,
    ],
    dtype=["float32"],
  ),
  "test_optimizers_can_be_wrapped_in_inject_hyperparams": [{}],
  "test_preserve_dtype": product(dtype=HALF_AND_SINGLE),
  "test_gradient_accumulation": product(dtype=HALF_AND_SINGLE),
  "test_state_shape_dtype_shard_stability": product(dtype=ALL),
  "test_optimizers_accept_learning_rate_schedule_if_type_annotated_as_such": [{}],
}
ALIAS = {
  "test_optimization": product(
    target=[alias_test._setup_parabola, alias_test._setup_rosenbrock],
    dtype=[jnp.float32, jnp.complex64],
  ),
  "test_optimizers_accept_extra_args": [{}],
  "test_optimizers_can_be_wrapped_in_inject_hyperparams": [{}],
  "test_preserve_dtype": product(dtype=HALF_AND_SINGLE),
  "test_gradient_accumulation": product(dtype=HALF_AND_SINGLE),
  "test_state_shape_dtype_shard_stability": product(
    dtype=[*ALL, jnp.complex64, jnp.complex128]
  ),
}


def kwargs(opt_name, arguments):
  is_rosenbrock = "rosenbrock" in getattr(arguments.get("target"), "__name__", "")
  return OPTIMIZERS[opt_name] | ({"density": 1.0} if is_rosenbrock else {})


def parametrize(suite):
  cases = [(name, arguments) for name, many in suite.items() for arguments in many]
  return pytest.mark.parametrize(
    ("name", "arguments"), cases, ids=[f"{n}-{title(a)}" for n, a in cases]
  )


@pytest.mark.parametrize("opt_name", OPTIMIZERS)
@parametrize(CONTRIB)
def test_contrib(opt_name, name, arguments):
  opt = {
    "opt_name": opt_name,
    "opt_kwargs": kwargs(opt_name, arguments),
    "wrapper_name": None,
    "wrapper_kwargs": None,
  }
  call(_common_test.ContribTest, name, {**opt, **arguments})


@pytest.mark.parametrize("opt_name", OPTIMIZERS)
@parametrize(ALIAS)
def test_alias(opt_name, name, arguments):
  opt = {"opt_name": opt_name, "opt_kwargs": kwargs(opt_name, arguments)}
  call(alias_test.AliasTest, name, {**opt, **arguments})


@pytest.mark.parametrize("params_dtype", ["bfloat16", "float32", "complex64", None])
@pytest.mark.parametrize("state_dtype", ["bfloat16", "float32", "complex64", None])
def test_explicit_dtype_of_the_momentum(params_dtype, state_dtype, monkeypatch):
  # They have names for three optimizers: we stand in for SGD.
  monkeypatch.setattr(alias, "sgd", gsm)
  arguments = {"params_dtype": params_dtype, "state_dtype": state_dtype}
  call(
    alias_test.AliasTest, "test_explicit_dtype", {**arguments, "opt_name": "sgd_mom"}
  )


@pytest.mark.parametrize("opt_name", OPTIMIZERS)
@pytest.mark.parametrize(
  "name",
  [
    "test_init_with_abstract_input",
    "test_state_sharding_type_init_match_update",
    "test_state_sharding_type_preserved_with_jit",
  ],
)
def test_sharding(opt_name, name, monkeypatch):
  if sharding_test is None:
    pytest.skip(f"Optax {optax.__version__} has no such tests")
  assert jax.device_count() == 8
  # They skip JAX before 0.7.2, and compare versions as strings: 0.10 is before, too.
  monkeypatch.setattr(jax, "__version__", "1")
  optimizer = globals()[opt_name]
  arguments = {"optimizer": optimizer(**OPTIMIZERS[opt_name])}
  call(sharding_test.ShardingTest, name, arguments)
