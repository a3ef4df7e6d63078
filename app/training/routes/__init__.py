"""The routes that make jobs, check configurations, or show what augmentation does."""
