"""The commands for versions on a KFP server: ``create`` and ``versions``."""

from datetime import datetime
from typing import Any

from copg_pipelines.cli.options import connected, targeted
from copg_pipelines.target import Target


@connected
@targeted("recipe", "sets", "run_dir", "image", "pipeline", "revision", needs_recipe=True)
def create(target: Target, *, connect: Any) -> None:
    """Compile a DAG and put it on a server as a version; the same DAG again makes no second one."""
    from copg_pipelines.server.versions import put

    version, made = put(connect(), target)
    print(f"{'made' if made else 'there already'}: {version.display_name}  {version.pipeline_version_id}")


@connected
@targeted("pipeline")
def versions(target: Target, *, connect: Any) -> None:
    """List the versions of a pipeline, the newest first, and which schedules run them."""
    from copg_pipelines.server.schedules import list_schedules, pinned_version
    from copg_pipelines.server.versions import get_pipeline, list_versions, version_name

    client = connect()
    found = get_pipeline(client, target.pipeline_name)
    pinned = [(pinned_version(each), each.display_name) for each in list_schedules(client, found.pipeline_id)]
    for version in list_versions(client, found.pipeline_id):
        names = [name for which, name in pinned if which == version.pipeline_version_id]
        runs = f"  schedule {', '.join(names)}" if names else ""
        recipe = (version.tags or {}).get("recipe", "")
        print(f"{version_name(version):<48} {_date(version.created_at)}  {recipe:<16}{runs}".rstrip())


def _date(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
