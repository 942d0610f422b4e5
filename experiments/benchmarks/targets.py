"""Devices that XLA compiles for and that need not be there.

An H100 is described by the text in ``h100.txtpb``, as XLA describes one that it finds;
a TPU's compiler knows all of its kinds. Both compilers are in packages of their own.
"""

import importlib.util
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import (
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
  Sharding,
  SingleDeviceSharding,
)

from experiments.benchmarks.shapes import Shape

H100 = Path(__file__).with_name("h100.txtpb")


@dataclass(frozen=True)
class Target:
  """What to compile for.

  Attributes:
    platform: JAX's name of it.
    modules: that the compiler consists of.
    packages: that have these modules.
    install: what `pip install` takes; ``{jax}`` stands for JAX's version.
  """

  platform: str
  modules: tuple[str, ...] = ()
  packages: tuple[str, ...] = ()
  install: str = ""


TARGETS = {
  "h100": Target(
    "cuda",
    ("jax_plugins.xla_cuda12", "nvidia.cuda_nvcc"),
    ("jax-cuda12-plugin", "jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12"),
    "'jax-cuda12-plugin=={jax}' 'jax-cuda12-pjrt=={jax}' nvidia-cuda-nvcc-cu12",
  ),
  "v5e": Target("tpu", ("libtpu",), ("libtpu",), "'jax[tpu]=={jax}'"),
  "cpu": Target("cpu"),
}


def prepare() -> None:
  """Before the first use of JAX: eight simulated CPU devices and nothing else."""
  # A TPU's compiler would ask the cloud what machine it is on.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_num_cpu_devices", 8)
  jax.config.update("jax_enable_compilation_cache", False)  # times would be of no use
  jax.devices()  # finds the plugins, which compile though they are not used


def missing(name: str) -> str | None:
  """A sentence on how to install what the target needs, unless it is there."""
  target = TARGETS[name]
  if all(_is_installed(module) for module in target.modules):
    return None
  install = target.install.format(jax=jax.__version__)
  return (
    f"{name} is left out: to compile for it, run this in an environment of its own,"
    f" with gsm_optax in it: pip install {install}"
  )


def _is_installed(module: str) -> bool:
  try:
    return importlib.util.find_spec(module) is not None
  except ModuleNotFoundError:  # the package around it
    return False


def compiler_versions(name: str) -> dict[str, str]:
  """Of the packages that compile for the target, besides JAX's own."""
  return {package: version(package) for package in TARGETS[name].packages}


def devices_of(name: str, number: int) -> list[Any]:
  """One or eight devices."""
  if name == "cpu":
    return jax.devices("cpu")[:number]
  if name == "v5e":
    topology = "v5e:2x4" if number == 8 else "v5e:2x2"  # there is no smaller one
    return topologies.get_topology_desc(topology, "tpu").devices[:number]
  return topologies.get_topology_desc(
    "",
    platform="cuda",
    topology=f"1x1x{number}",
    target_config=H100.read_text(),
  ).devices


def mesh_of(name: str, number: int) -> Mesh:
  """One axis, ``shard``, over one or eight devices."""
  devices = np.array(devices_of(name, number))
  return Mesh(devices, ("shard",), axis_types=(AxisType.Auto,))


def place(shape: Shape, mesh: Mesh) -> Sharding:
  """Fully sharded: split along the longest axis that the devices divide."""
  if mesh.size == 1:
    return SingleDeviceSharding(mesh.devices.item())
  divisible = [axis for axis, length in enumerate(shape) if length % mesh.size == 0]
  axis = max(divisible, key=lambda axis: shape[axis], default=None)
  names = ["shard" if i == axis else None for i in range(len(shape))]
  return NamedSharding(mesh, PartitionSpec(*names))
