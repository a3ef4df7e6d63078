// Written by `make page` from the service's OpenAPI document; `make lint` fails while the two differ.

export interface About { service: string; version: string; docs: string; openapi: string; health: string; ready: string; metrics: string }
export interface Access { workspace: string; scopes: ("recognise" | "learn" | "train" | "metrics" | "admin")[]; key_id: string | null; key_needed: boolean }
export interface AddedAnswerExample { id: string; question: string; answer: string; collection: string; image_sha256: string; image: string; created_at: string; created: boolean }
export interface AddedExample { id: string; label: string; collection: string; image_sha256: string; image: string; created: boolean; other_labels: string[]; replaced_labels: string[] }
export interface AddedExamples { data: AddedExample[] }
export interface AnswerExampleInfo { id: string; question: string; answer: string; collection: string; image_sha256: string; image: string; created_at: string }
export interface AnswerExampleList { data: AnswerExampleInfo[]; next: string | null }
export interface AnswerReply { answer: string; model: string; examples_used: UsedExample[]; finish_reason: "stop" | "length" | "cancelled"; usage: app__answers__schemas__Usage; timing_ms: app__answers__schemas__Timing; warnings: AnswerWarning[] }
export interface AnswerSet { coverage: number; guarantee: "label" | "average" | "none"; labels: string[]; warnings: AnswerSetWarning[] }
export interface AnswerSetWarning { code: "no_examples" | "trained_model" | "one_label" | "too_few_examples" | "labels_always_in"; sentence: string }
export interface AnswerWarning { code: "outside_domain"; sentence: string }
export interface ArtifactInfo { name: string; size: number; sha256: string; url: string }
export interface ArtifactList { data: ArtifactInfo[]; next: string | null }
export interface BaseModelSection { name?: string | null; type?: "auto" | "vision_language" | "vlm" | "multimodal" | "visual_qa" | "image_captioning" | "vision" | "encoder" | "vision_encoder" | "image_encoder" | "image_classification" | "classification"; checkpoint?: string | null }
export interface BulkDecisionRequest { label?: string | null; decision?: "right" | "none" | "skip" | null; guess?: string | null; ids: string[] }
export interface CaptionReply { caption: string; model: string; finish_reason: "stop" | "length" | "cancelled"; usage: app__answers__schemas__Usage; timing_ms: app__answers__schemas__Timing; warnings: AnswerWarning[] }
export interface ChangedExamples { label: string | null; changed: string[]; unchanged: string[]; removed: string[]; collection_version: number }
export interface CheckedConfiguration { version: "v1" | "v1.0" | "1" | "1.0" | 1; type: "multimodal" | "image_classification" | "visual_qa" | "image_captioning"; base_model: string | BaseModelSection; vision_processor: VisionProcessor; text_processor: TextProcessor; training_args: TrainingArguments; dataset: DatasetConfig; evaluation: EvaluationConfig; warnings: FieldNote[] }
export interface Classification { label: string | null; scores: Score[]; rejected: boolean; none: number; model: string; collection: string | null; timing_ms: app__collections__schemas__Timing; answer_set: AnswerSet | null; neighbours: Hit[] | null }
export interface Classifications { data: Classification[] }
export interface ClientHealth { status: string; device: string; loaded_models: string[]; timestamp: string; pid: number }
export interface CollectionChange { encoder?: string | null; label_shares?: "equal" | "examples" | null; review?: ReviewSpan | null }
export interface CollectionHealth { collection: string; examples: number; examined: number; suspects: Suspect[]; suspects_total: number; labels: LabelHealth[]; labels_total: number; near_duplicates: NearDuplicate[]; near_duplicates_total: number; overlapping_labels: OverlappingLabels[]; overlapping_labels_total: number; small_labels: SmallLabel[]; small_labels_total: number; notes: string[] }
export interface CollectionInfo { name: string; encoder: string; version: number; label_shares: "equal" | "examples"; review: ReviewSpan | null; labels: number; examples: number; answers: number; created_at: string }
export interface CollectionList { data: CollectionInfo[]; next: string | null }
export interface CollectionRequest { name: string; encoder?: string | null; label_shares?: "equal" | "examples" }
export interface Contender { accuracy: number; macro_f1: number; standard_error: number }
export interface Cpu { name: string; architecture: string; cores: number; flags: string[] }
export interface CurvePoint { decided: number; agreement: number }
export interface DatasetConfig { format?: "coco" | "custom" | "directory" | "jsonl" | "json" | "csv" | "voc" | "yolo" | "auto"; data_dir?: string | null; split_ratio?: number[] }
export interface DatasetImageInfo { image_sha256: string; split: string; label: string | null; question: string | null; answer: string | null; image: string }
export interface DatasetImageList { data: DatasetImageInfo[]; next: string | null }
export interface DatasetInfo { id: string; name: string; state: "preparing" | "ready" | "failed"; task: "classification" | "vqa" | "caption" | null; format: string; summary: Record<string, unknown> | null; error: Record<string, unknown> | null; job: string | null; created_at: string }
export interface DatasetList { data: DatasetInfo[]; next: string | null }
export interface DecisionRequest { label?: string | null; decision?: "right" | "none" | "skip" | null; guess?: string | null }
export interface Embedding { object: "embedding"; index: number; embedding: number[] | string }
export interface EmbeddingList { object: "list"; data: Embedding[]; model: string; usage: app__collections__schemas__Usage }
export interface EvaluationConfig { metrics?: ("accuracy" | "f1" | "macro_f1" | "per_class" | "confusion_matrix" | "calibration_error" | "bleu" | "exact_match")[] | null; test_data_dir?: string | null }
export interface EvaluationRequest { dataset?: string | null; collection?: string | null; split?: "test" | "validation" | "train" | "all"; metrics?: ("accuracy" | "f1" | "macro_f1" | "per_class" | "confusion_matrix" | "calibration_error" | "bleu" | "exact_match")[] | null }
export interface ExampleChange { label: string }
export interface ExampleInfo { id: string; label: string; collection: string; image_sha256: string; image: string; created_at: string }
export interface ExampleList { data: ExampleInfo[]; next: string | null }
export interface ExamplesChange { ids: string[]; label?: string | null; delete?: boolean; merge?: boolean }
export interface ExcludedStrategy { name: string; task: "classification" | "vqa" | "caption"; reason: string }
export interface ExportRequest { format: "onnx" | "safetensors"; text_encoder?: boolean }
export interface FeedbackInfo { example: string | null; label: string | null; collection: string; collection_version: number; decision: "right" | "relabelled" | "none" | "skip" | null; other_labels: string[]; replaced_labels: string[] }
export interface FieldNote { field: string; sentence: string }
export interface FromCollection { collection: string; name?: string | null; task?: "classification" | "vqa"; split?: [number, number, number]; seed?: number }
export interface Gpu { index: number; name: string; memory_mb: number; memory_available_mb: number; compute_capability: string | null }
export interface GuessScore { label: string; score: number }
export interface Hardware { cpu: Cpu; memory: Memory; gpus: Gpu[]; device: string | null; strategies: StrategyFit[] }
export interface HardwareRequirements { gpu_memory_gb: number | null; cpu_memory_gb: number; inference_time_ms: number | null; training_time_hours: [number, number] | null }
export interface Health { status: string; service: string; version: string }
export interface Hit { id: string; label: string; similarity: number; image: string }
export interface IntoCollection { collection: string; splits?: ("train" | "validation" | "test")[] }
export interface JobInfo { id: string; kind: "train" | "evaluate" | "export" | "prepare" | "reembed" | "teach"; state: "queued" | "running" | "succeeded" | "failed" | "cancelled"; queue: "cpu" | "gpu" | "multi-gpu"; served: boolean | null; phase: string | null; not_before: string | null; attempt: number; max_attempts: number; strategy: string | null; task: "classification" | "vqa" | "caption" | null; method: "head" | "lora" | "prototypical" | "maml" | "siamese" | "finetune" | null; base_model: string | null; collection: string | null; dataset: string | null; dataset_name: string | null; params: Record<string, unknown>; name: string | null; seed: number; progress: Progress; metrics: Record<string, unknown>; model: string | null; error: Record<string, unknown> | null; cancelling: boolean; created_at: string; started_at: string | null; finished_at: string | null }
export interface JobList { data: JobInfo[]; next: string | null }
export interface JobPage { id: string; kind: "train" | "evaluate" | "export" | "prepare" | "reembed" | "teach"; state: "queued" | "running" | "succeeded" | "failed" | "cancelled"; queue: "cpu" | "gpu" | "multi-gpu"; served: boolean | null; phase: string | null; not_before: string | null; attempt: number; max_attempts: number; strategy: string | null; task: "classification" | "vqa" | "caption" | null; method: "head" | "lora" | "prototypical" | "maml" | "siamese" | "finetune" | null; base_model: string | null; collection: string | null; dataset: string | null; dataset_name: string | null; params: Record<string, unknown>; name: string | null; seed: number; progress: Progress; metrics: Record<string, unknown>; model: string | null; error: Record<string, unknown> | null; cancelling: boolean; created_at: string; started_at: string | null; finished_at: string | null; result: Record<string, unknown> | null; artifacts: ArtifactInfo[] }
export interface JobRequest { strategy?: string | null; config?: MultimodalConfig | null; collection?: string | null; dataset?: string | null; params?: Record<string, unknown>; base_model?: string | null; name?: string | null; seed?: number }
export interface Key { id: string; name: string; hint: string; workspace: string; scopes: ("recognise" | "learn" | "train" | "metrics" | "admin")[]; created_at: string; expires_at: string | null }
export interface KeyList { data: Key[]; next: string | null }
export interface KeyRequest { name: string; scopes?: ("recognise" | "learn" | "train" | "metrics" | "admin")[]; workspace?: string | null; expires_in_days?: number | null; expires_at?: string | null }
export interface LabelChange { name: string; merge?: boolean }
export interface LabelHealth { label: string; examples: number; recall: number | null }
export interface LabelInfo { label: string; description: string; examples: number }
export interface LabelList { data: LabelInfo[]; next: string | null }
export interface LargerCheckpoint { checkpoint: string; gpu_memory_gb: number | null; cpu_memory_gb: number }
export interface Machine { gpu_memory_gb?: number; gpus?: number; cpu_memory_gb?: number | null; cores?: number | null }
export interface MachineFacts { memory_limit: string | null; max_model_size: string | null; max_trained_size: string | null; recommended_learning: ("one_shot" | "few_shot" | "many_shot")[] }
export interface Memory { total_mb: number; available_mb: number | null }
export interface MetricList { data: MetricSeries[]; next: string | null }
export interface MetricSeries { name: string; steps: number[]; values: number[]; total: number }
export interface Model { id: string; object: "model"; created: number; owned_by: string; kind: "encoder" | "vlm" | "classifier"; tasks: string[] | null; family: string; aliases: string[]; alias_of: string | null; default: boolean; knows: string | null; loaded: boolean; dim: number | null; input_size: number | null; memory_mb: number | null; runtime: string | null; fingerprint: string | null; optimisation: ModelOptimisation | null; trained: TrainedFacts | null }
export interface ModelFile { name: string; size: number; sha256: string; url: string }
export interface ModelFiles { data: ModelFile[]; next: string | null }
export interface ModelList { data: Model[]; next: string | null; object: "list" }
export interface ModelOptimisation { asked: string; level: string; speed_up: number | null; parity: number | null; note: string | null }
export interface MultimodalConfig { version?: "v1" | "v1.0" | "1" | "1.0" | 1; type?: "multimodal" | "image_classification" | "visual_qa" | "image_captioning"; base_model?: string | BaseModelSection; vision_processor?: VisionProcessor; text_processor?: TextProcessor; training_args: TrainingArguments; dataset?: DatasetConfig; evaluation?: EvaluationConfig }
export interface NearDuplicate { examples: [string, string]; labels: [string, string]; similarity: number; images: [string, string] }
export interface NewKey { id: string; name: string; hint: string; workspace: string; scopes: ("recognise" | "learn" | "train" | "metrics" | "admin")[]; created_at: string; expires_at: string | null; key: string }
export interface OverlappingLabels { labels: [string, string]; share: number | null; similarity: number | null; sentence: string }
export interface Problem { type: string; title: string; status: number; detail: string; instance: string; error: { message: string; type: string; param?: string | null; code: string }; checks: Record<string, string> }
export interface Progress { step: number; of: number; eta_s: number | null }
export interface Readiness { status: string; checks: Record<string, string> }
export interface RecommendRequest { learning_type?: "one_shot" | "few_shot" | "many_shot" | null; dataset_size?: number | null; task?: "classification" | "vqa" | "caption" | null; hardware?: string | Machine }
export interface Recommendation { hardware: Machine; machine: MachineFacts; data: RecommendedStrategy[]; groups: TaskGroup[]; left_out: ExcludedStrategy[] }
export interface RecommendedStrategy { name: string; task: "classification" | "vqa" | "caption"; family: string; checkpoint: string; method: string | null; expected_time_s: number | null; expected_examples: number | null; expected_time_note: string; params: Record<string, unknown>; larger: string[]; larger_params: Record<string, Record<string, unknown>>; reason: string }
export interface RefusedFile { file: string; reason: string }
export interface RenamedLabel { label: string; description: string; examples: number; removed: string[]; collection_version: number }
export interface ReviewDecisionInfo { id: string; decision: "right" | "relabelled" | "none" | "skip" | null; label: string | null; example: string | null; collection_version: number; waiting: number }
export interface ReviewDecisionList { data: ReviewDecisionInfo[] }
export interface ReviewPage { data: ReviewPictureInfo[]; next: string | null }
export interface ReviewPictureInfo { id: string; created_at: string; request_id: string; image: string; scores: GuessScore[]; margin: number; rejected: boolean; guess: string; scored_version: number }
export interface ReviewSpan { keep?: number; days?: number }
export interface ReviewStats { waiting: number; decided: number; right: number; relabelled: number; none: number; skipped: number; agreement: number | null; curve: CurvePoint[] }
export interface Samples { min: number; best: number; max: number | null }
export interface Score { label: string; score: number; similarity: number | null }
export interface SearchResult { data: Hit[]; model: string; collection: string }
export interface SmallLabel { label: string; examples: number }
export interface Storage { workspace: string; used_bytes: number; max_bytes: number }
export interface StrategyFit { name: string; fits: boolean; reason: string | null }
export interface StrategyHardware { gpu_memory_gb: number | null; cpu_memory_gb: number; cpu_cores: number; expected_time_s: number | null; expected_examples: number | null; expected_fixed_s: number; expected_cores: number; useful_cores: number; training_time_hours: [number, number] | null; inference_time_ms: number | null; note: string | null }
export interface StrategyInfo { name: string; aliases: string[]; description: string; learning_types: ("one_shot" | "few_shot" | "many_shot")[]; task: "classification" | "vqa" | "caption"; model: StrategyModel; method: "head" | "lora" | "prototypical" | "maml" | "siamese" | "finetune" | null; params: Record<string, unknown>; samples: Samples; hardware: StrategyHardware; strengths: string[]; use_cases: string[]; as_good_as_training: app__strategies__definition__Comparison | null; own: boolean; here: string; defaults: Record<string, unknown>; model_type: string; base_model: string | null; base_models: string[]; learning_type: "one_shot" | "few_shot" | "many_shot"; min_samples: number; max_samples: number | null; hardware_requirements: HardwareRequirements }
export interface StrategyList { data: StrategyInfo[]; refused: RefusedFile[]; next: string | null }
export interface StrategyModel { family: string; checkpoint: string; kind: "encoder" | "vlm"; larger: LargerCheckpoint[]; base_models: string[] }
export interface Suspect { id: string; label: string; told: string; probability: number; image: string }
export interface TaskGroup { task: "classification" | "vqa" | "caption"; data: RecommendedStrategy[] }
export interface TextProcessor { tokenizer?: string | null; max_length?: number | null; padding?: boolean | "max_length" | "longest" | "do_not_pad" | null; truncation?: boolean | null }
export interface TrainedFacts { base_model: string; method: string; task: string; labels: string[] | null; strategy: string | null; job_id: string | null; data: Record<string, unknown>; settings: Record<string, unknown>; seed: number | null; metrics: Record<string, unknown>; comparison: app__jobs__spec__Comparison | null; parameters: number | null; size_mb: number | null; base_changed: boolean; note: string | null; created_at: string }
export interface TrainingArguments { learning_type: "one_shot" | "few_shot" | "many_shot"; num_examples?: number | null; num_epochs?: number | null; batch_size?: number | "auto" | null; learning_rate?: number | null; warmup_steps?: number | null; method?: "head" | "lora" | "prototypical" | "maml" | "siamese" | "finetune" | null; extra?: Record<string, unknown> }
export interface UsedExample { id: string; question: string; answer: string; similarity: number }
export interface VisionProcessor { type?: string | null; image_size?: number | null; patch_size?: number | null; normalize?: boolean | null; augmentations?: ("rotation" | "brightness" | "noise" | "crop" | "flip" | "resize" | "center_crop" | "normalize")[] | null }
export interface app__answers__schemas__Timing { decode: number; examples: number; generate: number; total: number }
export interface app__answers__schemas__Usage { prompt_tokens: number; completion_tokens: number; total_tokens: number }
export interface app__collections__schemas__Timing { decode: number; embed: number; score: number; total: number }
export interface app__collections__schemas__Usage { prompt_tokens: number; total_tokens: number }
export interface app__jobs__spec__Comparison { sentence: string; use: "head" | "trained" | null; encoder: string | null; evaluated_on: "test" | "validation" | null; images: number; head: Contender | null; trained: Contender | null; chance: number | null; commonest: number | null; commonest_label: string | null; only_head: number | null; only_trained: number | null; p_value: number | null }
export interface app__strategies__definition__Comparison { up_to_examples: number; says: string }

export interface Calls {
  "GET /": { path: {  }; reply: About };
  "GET /healthz": { path: {  }; reply: Health };
  "GET /health": { path: {  }; reply: ClientHealth };
  "GET /readyz": { path: {  }; reply: Readiness };
  "GET /metrics": { path: {  }; reply: void };
  "POST /v1/classify": { path: {  }; json: { collection?: string; labels?: string[]; threshold?: number; top_k?: number; coverage?: number; neighbours?: number; model?: string; image: string | string[] }; form: { collection?: string; labels?: string[]; threshold?: number; top_k?: number; coverage?: number; neighbours?: number; model?: string; image: Blob[] }; reply: Classification | Classifications };
  "POST /v1/search": { path: {  }; json: { text?: string; collection?: string; top_k?: number; image?: string }; form: { text?: string; collection?: string; top_k?: number; image?: Blob }; reply: SearchResult };
  "POST /v1/embeddings": { path: {  }; json: { input?: string | { image: string } | { text: string } | (string | { image: string } | { text: string })[]; messages?: (Record<string, unknown>)[]; model?: string | null; encoding_format?: string | null; embedding_type?: string | null; modality?: "text" | "image" | null; dimensions?: number | null }; form: { input?: string[]; model?: string; encoding_format?: "float" | "base64"; user?: string; image?: Blob[] }; reply: EmbeddingList };
  "POST /v1/collections": { path: {  }; json: CollectionRequest; reply: CollectionInfo };
  "GET /v1/collections": { path: {  }; query: { limit?: number | null; cursor?: string | null }; reply: CollectionList };
  "GET /v1/collections/{collection}": { path: { collection: string }; reply: CollectionInfo };
  "PATCH /v1/collections/{collection}": { path: { collection: string }; json: CollectionChange; reply: JobInfo | CollectionInfo };
  "DELETE /v1/collections/{collection}": { path: { collection: string }; reply: void };
  "GET /v1/collections/{collection}/labels": { path: { collection: string }; query: { limit?: number | null; cursor?: string | null }; reply: LabelList };
  "GET /v1/collections/{collection}/health": { path: { collection: string }; query: { limit?: number | null }; reply: CollectionHealth };
  "PATCH /v1/collections/{collection}/labels/{label}": { path: { collection: string; label: string }; json: LabelChange; reply: RenamedLabel };
  "POST /v1/collections/{collection}/examples": { path: { collection: string }; json: { label: string; description?: string; replace?: boolean; images: string | string[] }; form: { label: string; description?: string; replace?: boolean; images: Blob[] }; reply: AddedExamples };
  "GET /v1/collections/{collection}/examples": { path: { collection: string }; query: { label?: string | null; image_sha256?: string | null; limit?: number | null; cursor?: string | null }; reply: ExampleList };
  "POST /v1/collections/{collection}/examples/bulk": { path: { collection: string }; json: ExamplesChange; reply: ChangedExamples };
  "GET /v1/collections/{collection}/examples/{id}": { path: { collection: string; id: string }; reply: ExampleInfo };
  "PATCH /v1/collections/{collection}/examples/{id}": { path: { collection: string; id: string }; json: ExampleChange; reply: ExampleInfo };
  "DELETE /v1/collections/{collection}/examples/{id}": { path: { collection: string; id: string }; reply: void };
  "GET /v1/collections/{collection}/examples/{id}/image": { path: { collection: string; id: string }; query: { size?: number }; reply: void };
  "GET /v1/collections/{collection}/review": { path: { collection: string }; query: { order?: "margin" | "newest"; limit?: number | null; cursor?: string | null }; reply: ReviewPage };
  "POST /v1/collections/{collection}/review": { path: { collection: string }; json: BulkDecisionRequest; reply: ReviewDecisionList };
  "GET /v1/collections/{collection}/review/stats": { path: { collection: string }; reply: ReviewStats };
  "POST /v1/collections/{collection}/review/{id}": { path: { collection: string; id: string }; json: DecisionRequest; reply: ReviewDecisionInfo };
  "DELETE /v1/collections/{collection}/review/{id}/decision": { path: { collection: string; id: string }; reply: ReviewDecisionInfo };
  "GET /v1/collections/{collection}/review/{id}/image": { path: { collection: string; id: string }; query: { size?: number }; reply: void };
  "POST /v1/feedback": { path: {  }; json: { collection?: string; request_id?: string; label?: string; right?: boolean; none?: boolean; undo?: boolean; replace?: boolean; image?: string }; form: { collection?: string; request_id?: string; label?: string; right?: boolean; none?: boolean; undo?: boolean; replace?: boolean; image?: Blob }; reply: FeedbackInfo };
  "POST /v1/vqa": { path: {  }; json: { model?: string; max_new_tokens?: number; temperature?: number; top_p?: number; strict?: boolean; stream?: boolean; question: string; collection?: string; k?: number; image: string }; form: { model?: string; max_new_tokens?: number; temperature?: number; top_p?: number; strict?: boolean; stream?: boolean; question: string; collection?: string; k?: number; image: Blob }; reply: AnswerReply };
  "POST /v1/caption": { path: {  }; json: { model?: string; max_new_tokens?: number; temperature?: number; top_p?: number; strict?: boolean; stream?: boolean; prompt?: string; image: string }; form: { model?: string; max_new_tokens?: number; temperature?: number; top_p?: number; strict?: boolean; stream?: boolean; prompt?: string; image: Blob }; reply: CaptionReply };
  "POST /v1/collections/{collection}/answers": { path: { collection: string }; json: { question: string; answer: string; image: string }; form: { question: string; answer: string; image: Blob }; reply: AddedAnswerExample };
  "GET /v1/collections/{collection}/answers": { path: { collection: string }; query: { limit?: number | null; cursor?: string | null }; reply: AnswerExampleList };
  "GET /v1/collections/{collection}/answers/{id}": { path: { collection: string; id: string }; reply: AnswerExampleInfo };
  "DELETE /v1/collections/{collection}/answers/{id}": { path: { collection: string; id: string }; reply: void };
  "GET /v1/collections/{collection}/answers/{id}/image": { path: { collection: string; id: string }; query: { size?: number }; reply: void };
  "POST /v1/jobs": { path: {  }; json: JobRequest; reply: JobInfo };
  "GET /v1/jobs": { path: {  }; query: { state?: ("queued" | "running" | "succeeded" | "failed" | "cancelled")[] | null; limit?: number | null; cursor?: string | null }; reply: JobList };
  "POST /v1/jobs/check": { path: {  }; json: JobRequest; reply: void };
  "GET /v1/jobs/{job}": { path: { job: string }; reply: JobPage };
  "POST /v1/jobs/{job}/cancel": { path: { job: string }; reply: JobInfo };
  "POST /v1/jobs/{job}/retry": { path: { job: string }; reply: JobInfo };
  "GET /v1/jobs/{job}/events": { path: { job: string }; reply: void };
  "GET /v1/jobs/{job}/metrics": { path: { job: string }; query: { points?: number }; reply: MetricList };
  "GET /v1/jobs/{job}/artifacts": { path: { job: string }; reply: ArtifactList };
  "GET /v1/jobs/{job}/artifacts/{file}": { path: { job: string; file: string }; reply: void };
  "GET /v1/configurations/schema": { path: {  }; reply: Record<string, unknown> };
  "POST /v1/configurations/check": { path: {  }; json: Record<string, unknown>; reply: CheckedConfiguration };
  "POST /v1/datasets": { path: {  }; query: { name?: string; format?: "auto" | "directory" | "coco" | "jsonl" | "json" | "csv" | "voc" | "yolo"; boxes?: "whole" | "crops"; labels_from?: "auto" | "top" | "parent"; own_split?: "keep" | "ignore"; split?: string; seed?: number }; form: { archive: Blob; name?: string; format?: "auto" | "directory" | "coco" | "jsonl" | "json" | "csv" | "voc" | "yolo"; boxes?: "whole" | "crops"; labels_from?: "auto" | "top" | "parent"; own_split?: "keep" | "ignore"; split?: string; seed?: number }; reply: DatasetInfo };
  "GET /v1/datasets": { path: {  }; query: { limit?: number | null; cursor?: string | null }; reply: DatasetList };
  "POST /v1/datasets/from-collection": { path: {  }; json: FromCollection; reply: DatasetInfo };
  "POST /v1/datasets/{dataset}/teach": { path: { dataset: string }; json: IntoCollection; reply: JobInfo };
  "GET /v1/datasets/{dataset}": { path: { dataset: string }; reply: DatasetInfo };
  "DELETE /v1/datasets/{dataset}": { path: { dataset: string }; reply: void };
  "GET /v1/datasets/{dataset}/report": { path: { dataset: string }; reply: void };
  "GET /v1/datasets/{dataset}/manifest": { path: { dataset: string }; reply: void };
  "GET /v1/datasets/{dataset}/images": { path: { dataset: string }; query: { label?: string | null; split?: "train" | "validation" | "test" | null; limit?: number | null; cursor?: string | null }; reply: DatasetImageList };
  "GET /v1/datasets/{dataset}/images/{sha256}": { path: { dataset: string; sha256: string }; query: { size?: number }; reply: void };
  "POST /v1/models/{model}/evaluate": { path: { model: string }; json: EvaluationRequest; reply: JobInfo };
  "POST /v1/models/{model}/export": { path: { model: string }; json: ExportRequest; reply: JobInfo };
  "GET /v1/hardware": { path: {  }; reply: Hardware };
  "GET /v1/models": { path: {  }; reply: ModelList };
  "POST /v1/models": { path: {  }; form: { archive: Blob }; reply: Model };
  "GET /v1/models/{model}": { path: { model: string }; reply: Model };
  "DELETE /v1/models/{model}": { path: { model: string }; reply: void };
  "GET /v1/models/{model}/artifacts": { path: { model: string }; reply: ModelFiles };
  "GET /v1/models/{model}/artifacts/{file}": { path: { model: string; file: string }; reply: void };
  "GET /v1/strategies": { path: {  }; reply: StrategyList };
  "GET /v1/strategies/schema": { path: {  }; reply: Record<string, unknown> };
  "GET /v1/strategies/{strategy}": { path: { strategy: string }; reply: StrategyInfo };
  "POST /v1/strategies/recommend": { path: {  }; json: RecommendRequest; reply: Recommendation };
  "POST /v1/augment": { path: {  }; json: { rotation?: number; brightness?: number; noise?: number; crop?: number; flip?: boolean; count?: number; seed?: number; image: string }; form: { rotation?: number; brightness?: number; noise?: number; crop?: number; flip?: boolean; count?: number; seed?: number; image: Blob }; reply: void };
  "POST /v1/keys": { path: {  }; json: KeyRequest; reply: NewKey };
  "GET /v1/keys": { path: {  }; query: { limit?: number; cursor?: string | null }; reply: KeyList };
  "DELETE /v1/keys/{key_id}": { path: { key_id: string }; reply: void };
  "GET /v1/access": { path: {  }; reply: Access };
  "GET /v1/storage": { path: {  }; reply: Storage };
  "POST /v1/chat/completions": { path: {  }; json: { model?: string | null; temperature?: number | null; top_p?: number | null; stream?: boolean | null; tool_choice?: unknown; messages: ({ role?: "system" | "developer" | "user" | "assistant" | "tool" | "function"; content?: string | ({ type: string; text?: string | null; image_url?: { url: string } | string | null })[] | null })[]; stream_options?: { include_usage?: boolean } | null; max_tokens?: number | null; max_completion_tokens?: number | null; stop?: string | string[] | null; n?: number | null; response_format?: { type?: string } | null }; reply: unknown };
  "POST /v1/responses": { path: {  }; json: { model?: string | null; temperature?: number | null; top_p?: number | null; stream?: boolean | null; tool_choice?: unknown; input: string | ({ type?: string; role?: "system" | "developer" | "user" | "assistant"; content?: string | ({ type: string; text?: string | null; image_url?: { url: string } | string | null })[] | null })[]; instructions?: string | null; text?: { format?: { type?: string } | null } | null; max_output_tokens?: number | null }; reply: unknown };
  "POST /v1/vision/classify": { path: {  }; json: { image: string; model?: string | null; classes?: string[] | null; top_k?: number; include_none?: boolean }; reply: Record<string, unknown> };
  "POST /v1/vision/embed": { path: {  }; json: { model?: string | null; images?: string[] | null; texts?: string[] | null }; reply: Record<string, unknown> };
  "GET /v1/vision/review/pending": { path: {  }; query: { page?: number; page_size?: number }; reply: Record<string, unknown> };
  "POST /v1/vision/review/decide": { path: {  }; json: { id: string; decision: "correct" | "wrong" | "skip"; corrected_class?: string | null }; reply: Record<string, unknown> };
  "POST /hf/{task}/{model}": { path: { task: string; model: string }; reply: unknown };
  "GET /hf/{task}/{model}/info": { path: { task: string; model: string }; reply: Record<string, string> };
  "GET /hf/{task}/{model}/health": { path: { task: string; model: string }; reply: Record<string, string> };
  "GET /v2": { path: {  }; reply: Record<string, unknown> };
  "GET /v2/health/live": { path: {  }; reply: Record<string, boolean> };
  "GET /v2/health/ready": { path: {  }; reply: Record<string, boolean> };
  "GET /v2/models/{model}/ready": { path: { model: string }; reply: Record<string, unknown> };
  "POST /v2/models/{model}/infer": { path: { model: string }; reply: unknown };
  "GET /v2/models/{model}": { path: { model: string }; reply: Record<string, unknown> };
}
