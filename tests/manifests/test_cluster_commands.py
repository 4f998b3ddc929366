"""What the pages tell people to type on a cluster exists: folders, files, services, images."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.manifests.built import MANIFESTS, ROOT, named
from tests.manifests.built import build as built

PAGES = [ROOT / "docs/kubernetes.md", MANIFESTS / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_applied_is_there(page: Path) -> None:
    text = page.read_text()
    for folder in set(re.findall(r"apply -k (manifests/\S+)", text)):
        assert built(ROOT / folder)
    for file in set(re.findall(r"--patch-file\s+(\S+)", text)):
        assert (ROOT / file).is_file()


FORWARDING = [PAGES[0], MANIFESTS / "kind.sh", ROOT / "docs/client.md"]


@pytest.mark.parametrize("file", FORWARDING, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_forwarded_shows_the_pages_that_the_client_prints(file: Path) -> None:
    # KFP's manifests: service ml-pipeline-ui, port 80, serves the pages and passes /apis on
    forwarded = re.findall(r"port-forward (\S+ [\d:]+)", file.read_text())
    assert set(forwarded) == {"svc/ml-pipeline-ui 8888:80"}


def test_the_commands_lead_to_a_schedule_and_no_image_is_forgotten() -> None:
    (block,) = re.findall(
        r"with `IMAGE` in a registry of yours:\n\n```bash\n(.*?)```", PAGES[0].read_text(), re.DOTALL
    )
    assert ".venv/bin/copg schedule " in block.splitlines()[-1]
    (loop,) = (line for line in block.splitlines() if line.startswith("for each in "))
    folders = re.findall(r"[\w/-]+", loop.split(";")[0].removeprefix("for each in "))
    (image,) = re.findall(r"s#(\S+?)#\$IMAGE#", loop)
    # every image that is applied is put in the place of
    images = re.findall(r'"image": "(.*?)"', json.dumps([built(MANIFESTS / folder) for folder in folders]))
    assert set(images) == {image}
    assert len(images) == 2


def test_every_patch_of_the_page_fits_the_overlay_and_every_kubectl_line_names_what_is_there() -> None:
    resources = [*built("overlays/standalone"), *built("volume")]
    blocks = re.findall(r"```yaml\n(.*?)```", PAGES[1].read_text(), re.DOTALL)
    patches = [patch for block in blocks for patch in yaml.safe_load(block).get("patches", [])]
    assert len(patches) == 3
    for patch in patches:
        spec = named(resources, **patch["target"])["spec"]
        for change in yaml.safe_load(patch["patch"]):
            *above, last = change["path"].split("/")[2:]
            inner = spec
            for key in above:
                inner = inner[key]
            assert (last in inner) is (change["op"] == "replace"), change
    text = "\n".join(page.read_text() for page in PAGES)
    ours = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in resources}
    pods = set(re.findall(r"(?:exec |wait pod/|[\w.]+ )(copg-volume)\b", text))
    assert {f"pod/{each}" for each in pods} <= ours
    claims = set(re.findall(r"describe pvc (\S+?)`", text))
    assert {f"persistentvolumeclaim/{each}" for each in claims} <= ours
    assert (pods, claims) == ({"copg-volume"}, {"copg-runs"})
    accounts = set(re.findall(r"--service-account (\S+)", text)) - {"..."}
    assert {re.sub(r"\W+$", "", each) for each in accounts} == {"copg-runner"}
    assert "serviceaccount/copg-runner" in ours
