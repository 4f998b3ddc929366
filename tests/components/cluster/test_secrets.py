"""Secrets that a pod mounts."""

import os
from pathlib import Path

import pytest
from copg_components.cluster.secrets import KEYS, export_secrets


def test_mounted_keys_become_variables_and_what_is_there_already_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the pod")
    folder = tmp_path / "copg-secrets"
    folder.mkdir()
    for name in ("HF_TOKEN", "AWS_ACCESS_KEY_ID", "PATH_TO_ELSEWHERE", "..data"):
        (folder / name).write_text(f"mounted {name}")
    export_secrets(tmp_path)
    assert os.environ["HF_TOKEN"] == "mounted HF_TOKEN"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "of the pod"
    assert "PATH_TO_ELSEWHERE" not in os.environ
    assert "MLFLOW_TRACKING_USERNAME" not in os.environ
    monkeypatch.delenv("HF_TOKEN")


def test_a_pod_that_mounts_none_has_none(tmp_path: Path) -> None:
    before = dict(os.environ)
    export_secrets(tmp_path / "nowhere")
    assert dict(os.environ) == before
