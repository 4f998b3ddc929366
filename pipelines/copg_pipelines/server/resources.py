"""A compiled DAG as resources that Git puts on a cluster.

For a KFP that keeps its pipelines in Kubernetes. A PipelineVersion never changes once it is there, so its
name says what it holds: another DAG is another resource.
"""

from pathlib import Path


def write_resources(
    compiled: Path, output: Path, *, namespace: str, pipeline: str = "", revision: str = ""
) -> str:
    """Write ``Pipeline`` and ``PipelineVersion``; the name of the version, as the client gives it too.

    What may be wrong with the DAG is printed.

    Args:
        compiled: from ``copg compile``.
        output: ``.yaml`` file.
        namespace: KFP's own, or the profile's.
        pipeline: name of the pipeline; empty: the DAG's.
        revision: of the source; empty: that of the repository.

    Raises:
        LintError: the file is no compiled DAG, or one that no server could run.
    """
    from kfp.compiler.compiler_utils import KubernetesManifestOptions
    from kfp.compiler.pipeline_spec_builder import write_pipeline_spec_to_file
    from kfp.components import load_component_from_file

    from copg_pipelines.dags.lint import warn_or_refuse
    from copg_pipelines.server.versions import Dag, resource_name, source_revision

    warn_or_refuse(compiled)
    dag = load_component_from_file(str(compiled))
    name = dag.pipeline_spec.pipeline_info.name
    version = Dag(compiled, name, revision or source_revision()).version
    options = KubernetesManifestOptions(
        pipeline_name=pipeline or name,
        pipeline_version_name=resource_name(version),
        pipeline_version_display_name=version,
        namespace=namespace,
        include_pipeline_manifest=True,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_pipeline_spec_to_file(
        dag.pipeline_spec,
        dag.description,
        dag.platform_spec,
        str(output),
        options,
        kubernetes_manifest_format=True,
    )
    return version
