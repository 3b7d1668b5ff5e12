"""Programs that tenants run. They never import `bench`; all they need is `workloads/job.py`."""
