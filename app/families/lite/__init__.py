"""The default encoder: EfficientNet-Lite0 for images, MiniLM mapped into its space for texts."""
