"""TODO"""

from nbutils.models.embedded import (
    EMBEDDED_SHA256,
    GEMMA,
    GEMMA_SHA256,
    MINILM,
    MINILM_SHA256,
    gemma_folder,
    minilm_folder,
    package_folder,
    require_sha256,
)
from nbutils.models.encoding import (
    BATCH_TOKENS,
    GPU_BATCH_TOKENS,
    SHARD_SIZE,
    batches_by_length,
    embed,
    embedding_dim,
    encode,
    encode_shard,
    encode_with_dropout,
    encoding_key,
    shard_label,
)
from nbutils.models.load import Encoder, Generator, checkpoint_folder, load_encoder, load_generator
from nbutils.models.runtime import keep_freed_memory, multiplies_bfloat16, pick_device, pick_dtype, quiet_transformers
