"""A KFP server: versions of DAGs, their runs and their schedules."""
