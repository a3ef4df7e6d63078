"""Model families: how a name becomes a loaded encoder or vision-language model."""
