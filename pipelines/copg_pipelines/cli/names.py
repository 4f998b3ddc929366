"""What there is to compile, and where it can run."""

from enum import StrEnum
from typing import Annotated

import typer


class Dag(StrEnum):
    """The DAGs there are."""

    ALIGN = "align"


class Place(StrEnum):
    """Where a DAG can run."""

    LOCAL = "local"
    CLUSTER = "cluster"


Name = Annotated[Dag, typer.Argument(help="Which DAG.")]
