"""The configuration as the product's description prints it, for the tests that it works word for word."""

from __future__ import annotations

PRINTED = """\
# multimodal_config.yaml
version: "v1"
type: "multimodal"

base_model:
  name: "llava-7b"
  type: "vision_language"
  checkpoint: "llava-hf/llava-1.5-7b-hf"

vision_processor:
  type: "clip"
  image_size: 224
  patch_size: 32
  normalize: true
  augmentations:
    - "resize"
    - "center_crop"
    - "normalize"

text_processor:
  tokenizer: "llama"
  max_length: 512
  padding: "max_length"
  truncation: true

training_args:
  learning_type: "few_shot"  # one_shot, few_shot, many_shot
  num_examples: 5            # For few-shot learning
  num_epochs: 10
  batch_size: 4
  learning_rate: 1e-4
  warmup_steps: 100

dataset:
  format: "coco"             # coco, custom, directory
  data_dir: "./vision_data"
  split_ratio: [0.8, 0.1, 0.1]

evaluation:
  metrics: ["accuracy", "f1", "bleu"]
  test_data_dir: "./test_data"
"""
PRINTED_CHECKPOINT = "llava-hf/llava-1.5-7b-hf"


def adapt_printed(checkpoint: str = "llava-shapes", *, epochs: int = 1) -> str:
    """The same with a checkpoint that is at hand, and with less work."""
    changed = PRINTED.replace(PRINTED_CHECKPOINT, checkpoint)
    return changed.replace("num_epochs: 10", f"num_epochs: {epochs}")
