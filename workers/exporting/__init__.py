"""Models as files that other programs load: ONNX behind a parity gate, or safetensors in Hugging Face's format."""
