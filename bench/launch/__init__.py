"""Running jobs side by side: processes, containers, the start barrier, and what became of each job."""
