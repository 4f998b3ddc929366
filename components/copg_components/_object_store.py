"""The object stores of KFP's artifacts for fsspec, through pyarrow, which every task has.

An artifact's address begins with ``minio://`` by default, whatever store stands behind it. Where that is, and
who may read it, only KFP's launcher knows: it reads a ConfigMap and a Secret
(https://github.com/kubeflow/pipelines/tree/2.17.0/backend/src/v2/config). A task is told by its environment.
"""

import importlib.util
import os
import shutil
from typing import Any

import fsspec
from fsspec.implementations.arrow import ArrowFSWrapper
from fsspec.spec import AbstractFileSystem

ENDPOINT, ACCESS_KEY, SECRET_KEY = "COPG_MINIO_ENDPOINT", "COPG_MINIO_ACCESS_KEY", "COPG_MINIO_SECRET_KEY"
"""Environment variables; ``placement.stores.minio`` of a recipe sets them."""
LAUNCHERS_ENDPOINT = "http://seaweedfs.kubeflow:9000"
LAUNCHERS_REGION = "minio"
COPIED_AT_ONCE = 5 * 2**30
"""Bytes of the largest object that S3 copies in one request."""
OTHERS = {"s3": "s3fs", "gs": "gcsfs"}
"""Schemes that packages of fsspec's own serve where they are installed."""


class _ObjectStore(ArrowFSWrapper):  # type: ignore[misc]
    """A file system of pyarrow whose paths begin with the bucket."""

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return AbstractFileSystem._strip_protocol.__func__(cls, path)  # ArrowFSWrapper's drops the bucket

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Let the store copy an object; one that is too large for that goes through here."""
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        if self.info(source)["size"] <= COPIED_AT_ONCE:
            self.fs.copy_file(source, target)
            return
        with self.open(source, "rb") as given, self.open(target, "wb") as taken:
            shutil.copyfileobj(given, taken, 2**24)


class MinioFileSystem(_ObjectStore):
    """What KFP calls ``minio://``: any store that speaks S3, at an endpoint of the cluster's own."""

    protocol = "minio"

    def __init__(self, **storage_options: Any) -> None:
        """Nothing is asked of the store yet.

        Raises:
            OSError: the environment holds no credentials; looking for others would take a minute.
        """
        from pyarrow.fs import S3FileSystem

        missing = [name for name in (ACCESS_KEY, SECRET_KEY) if not os.environ.get(name)]
        if missing:
            raise OSError(
                f"minio:// needs {' and '.join(missing)}: keys of the Secret under placement.stores.minio"
            )
        store = S3FileSystem(
            access_key=os.environ[ACCESS_KEY],
            secret_key=os.environ[SECRET_KEY],
            endpoint_override=os.environ.get(ENDPOINT) or LAUNCHERS_ENDPOINT,
            region=LAUNCHERS_REGION,
        )
        super().__init__(store, **storage_options)


class S3FileSystem(_ObjectStore):
    """S3, by the endpoint and credentials of the environment, or those of the pod's service account."""

    protocol = "s3"

    def __init__(self, **storage_options: Any) -> None:
        from pyarrow import fs

        # the variables of every AWS client, which pyarrow alone does not read
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        super().__init__(fs.S3FileSystem(endpoint_override=endpoint), **storage_options)


class GcsFileSystem(_ObjectStore):
    """Google Cloud Storage, by the default credentials."""

    protocol = "gs"

    def __init__(self, **storage_options: Any) -> None:
        from pyarrow import fs

        super().__init__(fs.GcsFileSystem(), **storage_options)


def register() -> None:
    """Tell fsspec of these stores."""
    served = {"minio": MinioFileSystem, "s3": S3FileSystem, "gs": GcsFileSystem}
    for scheme, system in served.items():
        if scheme not in OTHERS or importlib.util.find_spec(OTHERS[scheme]) is None:
            fsspec.register_implementation(scheme, system, clobber=True)
