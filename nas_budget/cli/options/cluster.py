"""The options of a search whose workers are on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from nas_budget.cli.options.declare import option
from nas_budget.errors import UsageError

CLUSTER = "Cluster"
ENGINES = ("local", "ray")


@dataclass(frozen=True)
class ClusterOptions:
    """Where the workers of a search run: in processes of this machine, or as actors of Ray.

    Attributes:
        engine: "local" or "ray".
        ray_address: Of a cluster that runs; None for a Ray of this machine alone.
        gpus_per_worker: Share of a GPU for each worker; None for one where the cluster has GPUs.
        cpus_per_worker: Processors for each worker; None for as many as the study's threads.
        any_version: Whether machines with other versions than this one may train.

    Raises:
        UsageError: An engine that is unknown, or options of Ray without it.
    """

    engine: Annotated[
        str, option("local, or ray: workers on any machine of a Ray cluster.", CLUSTER, "value", choices=ENGINES)
    ] = "local"
    ray_address: Annotated[
        str | None, option("Of a Ray cluster that runs, such as auto.", CLUSTER, "this machine alone")
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        option("With ray: share of a GPU for each worker, such as 0.25.", CLUSTER, "1 where there are GPUs"),
    ] = None
    cpus_per_worker: Annotated[
        float | None, option("With ray: processors for each worker.", CLUSTER, "threads of a trial")
    ] = None
    any_version: Annotated[
        bool,
        option("With ray: let machines with other versions than this one train.", CLUSTER, flag="--any-version"),
    ] = False

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"--engine {self.engine}: unknown; allowed are {', '.join(ENGINES)}")
        for name, value in (
            ("--ray-address", self.ray_address),
            ("--gpus-per-worker", self.gpus_per_worker),
            ("--cpus-per-worker", self.cpus_per_worker),
            ("--any-version", self.any_version or None),
        ):
            if value is not None and self.engine != "ray":
                raise UsageError(f"{name} {value}: is for workers on a Ray cluster; add --engine ray")
            if isinstance(value, float) and value < 0:
                raise UsageError(f"{name} {value}: give 0 or more")
