"""Encoders and generators: loaded by name, and texts made into vectors."""

from nbutils.models.chat import ask_in_turns, turn_end
from nbutils.models.cross_encoder import (
    CrossEncoder,
    cross_encoder_fingerprint,
    load_cross_encoder,
    n_pairs_cut,
    pair_scores,
)
from nbutils.models.embedded import GEMMA_SHA256, MINILM_SHA256
from nbutils.models.encoder import Encoder, SparseEncoder, embedding_dim, encoder_fingerprint, query_texts
from nbutils.models.encoding import (
    SHARD_SIZE,
    batches_by_length,
    embed,
    encode,
    encode_shard,
    encode_with_dropout,
    encoding_key,
    shard_label,
)
from nbutils.models.generator import Generator
from nbutils.models.load import checkpoint_folder, load_encoder, load_generator, load_sparse_encoder
from nbutils.models.optional import ENCODER, GENERATOR, OPTIONAL, SPARSE_ENCODER, fetch, is_fetched
from nbutils.models.reading import Reading, load_reading, n_truncated
from nbutils.models.runtime import pick_device, pick_dtype, quiet_transformers, release_freed_memory
