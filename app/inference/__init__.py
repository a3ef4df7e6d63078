"""Models on the device: what runs them, batches for them and keeps them in memory; neither HTTP nor the database."""
