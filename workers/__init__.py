"""What runs on training nodes: Celery tasks that supervise, and the processes they start, which train."""
