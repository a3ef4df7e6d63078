"""Models as files that other programs load: ONNX behind a parity gate, or safetensors in Hugging Face's format.

Knows modules, graphs and how exact they must be; knows nothing of jobs or of where the files go.
"""
