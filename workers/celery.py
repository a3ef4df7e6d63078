"""Where `celery -A workers` finds the application, made from the environment."""

from app.settings import Settings
from workers.worker.celery_app import make_app

app = make_app(Settings())
