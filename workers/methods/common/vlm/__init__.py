"""What methods share that train vision-language models."""
