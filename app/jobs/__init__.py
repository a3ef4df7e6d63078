"""The job table: what may happen to a job, its queue, its events and its files."""
