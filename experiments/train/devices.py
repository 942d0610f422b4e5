"""One run on all devices of all processes: batches are split, the rest is replicated.

Several processes are JAX's own runtime. Each sees the same files and runs the same
program; the first one writes. On a cluster that JAX knows (Slurm, Open MPI, Kubernetes,
Cloud TPU) `--distributed` finds the others; elsewhere name them:

    python -m experiments.prune --coordinator-address HOST:PORT --num-processes 2
      --process-id 0        # and the same with 1 on the other machine
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


class ClusterError(Exception):
  """Processes that cannot find each other; the message says what to do."""


def join_cluster(
  coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> None:
  """Waits for all processes of a run; before anything else that JAX does.

  What is ``None`` comes from the cluster's environment.

  Raises:
    ClusterError: if it does not come from there.
  """
  try:
    jax.distributed.initialize(coordinator_address, num_processes, process_id)
  except ValueError as error:
    raise ClusterError(
      f"JAX knows no cluster here that says the rest ({error}) Name all three:"
      " --coordinator-address HOST:PORT --num-processes N --process-id I."
    ) from error


def is_first_process() -> bool:
  """Whether this process is the one that writes and prints."""
  return jax.process_index() == 0


def wait_for_others(where: str) -> None:
  """Waits until all processes are here."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(where)


def first_process_says(answer: bool) -> bool:
  """The first process's answer, in all of them."""
  if jax.process_count() == 1:
    return answer
  from jax.experimental import multihost_utils

  return bool(multihost_utils.broadcast_one_to_all(np.asarray(answer)))


def batch_mesh() -> Mesh | None:
  """All devices in a row, along which batches are split; ``None`` for a single one."""
  if jax.device_count() == 1:
    return None
  return jax.make_mesh((jax.device_count(),), ("batch",), axis_types=(AxisType.Auto,))


def replicate(tree: Any, mesh: Mesh | None) -> Any:
  """The same arrays on every device."""
  if mesh is None:
    return tree
  # By way of the host: arrays of one process cannot be made global ones directly.
  return jax.device_put(
    jax.tree.map(np.asarray, tree), NamedSharding(mesh, PartitionSpec())
  )


def on_devices(batch: Any, mesh: Mesh | None) -> Any:
  """A batch of which each process has its part, as global arrays split over devices."""
  if mesh is None:
    return jax.tree.map(jnp.asarray, batch)
  sharding = NamedSharding(mesh, PartitionSpec("batch"))
  return jax.tree.map(
    lambda part: jax.make_array_from_process_local_data(sharding, np.asarray(part)),
    batch,
  )


def split(batch: Any, mesh: Mesh | None) -> Any:
  """Inside jit: a batch, with a part of its images on each device."""
  if mesh is None:
    return batch
  sharding = NamedSharding(mesh, PartitionSpec("batch"))
  return jax.lax.with_sharding_constraint(batch, sharding)
