"""What there is to compile, and where it can run."""

from enum import StrEnum
from typing import Annotated

import typer

from copg_pipelines.dags import DAGS

Dag = StrEnum("Dag", {name.upper(): name for name in DAGS})  # type: ignore[misc]


class Place(StrEnum):
    """Where a DAG can run."""

    LOCAL = "local"
    CLUSTER = "cluster"


Name = Annotated[Dag, typer.Argument(help="Which DAG.")]
