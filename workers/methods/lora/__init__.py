"""Low-rank adapters for encoders and vision-language models."""
