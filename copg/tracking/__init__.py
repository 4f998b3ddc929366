"""MLflow: what a training logs, and which policy is champion."""
