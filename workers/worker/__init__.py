"""The worker itself: the Celery application, its tasks, the supervisor, the sweeper and the child process."""
