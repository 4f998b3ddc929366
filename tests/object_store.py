"""A real S3 server (moto) that this process and its children reach as tasks of KFP reach theirs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from copg_components import _object_store as served

KEYS = {served.ACCESS_KEY: "minio", served.SECRET_KEY: "minio123"}


@dataclass
class ObjectStore:
    """One bucket of it."""

    client: Any
    bucket: str

    def put(self, key: str, content: bytes) -> None:
        """Write an object."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=content)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every object by its key."""
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        keys = [each["Key"] for each in found]
        return {key: self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def delete(self, prefix: str) -> None:
        """Delete every object whose key begins so."""
        for key in self.objects(prefix):
            self.client.delete_object(Bucket=self.bucket, Key=key)

    def forget_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As a pod whose namespace has no Secret of the store."""
        for name in KEYS:
            monkeypatch.delenv(name)
        served.MinioFileSystem.clear_instance_cache()


@contextmanager
def serve() -> Iterator[str]:
    """The address of a server on a free port."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def bucket_of(endpoint: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A bucket, with the environment of a task that may use it."""
    import boto3

    keys = dict(zip(("aws_access_key_id", "aws_secret_access_key"), KEYS.values(), strict=True))
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    client.create_bucket(Bucket=name)
    amazon = {key.upper(): value for key, value in keys.items()} | {"AWS_ENDPOINT_URL": endpoint}
    for variable, value in {**KEYS, **amazon, served.ENDPOINT: endpoint}.items():
        monkeypatch.setenv(variable, value)
    served.register()
    _forget_instances()
    yield ObjectStore(client, name)
    _forget_instances()


def _forget_instances() -> None:
    for system in (served.MinioFileSystem, served.S3FileSystem):
        system.clear_instance_cache()
