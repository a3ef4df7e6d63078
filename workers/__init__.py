"""What runs on training nodes: Celery tasks that supervise, and the processes they start, which train.

Knows jobs, models and data; shares only PostgreSQL, Redis and the file stores with the service.
"""
