"""Trainings that can be resumed, an algorithm a file: fine-tuning, RAG jointly and end to end, LSR."""

from nbutils.training.adapters import (
    LORA_SCALE,
    LORA_TARGETS,
    trainable_encoder,
    trainable_generator,
    trained_parameters,
)
from nbutils.training.checkpoints import read_state
from nbutils.training.end2end import train_end2end
from nbutils.training.fine_tuning import fine_tune
from nbutils.training.loop import Run
from nbutils.training.lsr import train_lsr
from nbutils.training.rag import embed_texts, rag_gradients, search_with_gradients, train_rag
from nbutils.training.refresh import collect, start_actors, stop_actors, submit
from nbutils.training.settings import MARGINALIZATIONS, TOWERS, History, TrainingSettings, batch_rows
