"""What the tests of the manifests do on a machine without their program."""

import pytest

from tests.manifests.built import kubectl


def test_without_kubectl_they_fail_unless_they_were_asked_to_be_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("COPG_SKIP_KUBECTL", raising=False)
    with pytest.raises(pytest.fail.Exception, match=r"install it .* or set COPG_SKIP_KUBECTL=1"):
        kubectl()
    monkeypatch.setenv("COPG_SKIP_KUBECTL", "1")
    with pytest.raises(pytest.skip.Exception, match="COPG_SKIP_KUBECTL=1: kubectl is not installed"):
        kubectl()
