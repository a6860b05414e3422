"""sentence-transformers' StaticEmbedding with MultipleNegativesRankingLoss, trained by its Trainer.

python peer_static_embedding.py PAIRS.parquet TOKENIZER.json EPOCHS BATCH_SIZE THREADS
"""

from __future__ import annotations

import json
import sys
import time

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.losses import MultipleNegativesRankingLoss
from sentence_transformers.models import StaticEmbedding
from tokenizers import Tokenizer


def main(pairs: str, tokenizer: str, epochs: str, batch_size: str, threads: str) -> None:
    """Train as its documentation of static embeddings does; a checkpoint after each epoch."""
    torch.set_num_threads(int(threads))
    start = time.process_time()
    module = StaticEmbedding(Tokenizer.from_file(tokenizer), embedding_dim=300)
    model = SentenceTransformer(modules=[module], device="cpu")
    dataset = Dataset.from_parquet(pairs, cache_dir="cache")
    settings = SentenceTransformerTrainingArguments(
        output_dir="checkpoints",
        num_train_epochs=int(epochs),
        per_device_train_batch_size=int(batch_size),
        learning_rate=0.2,
        warmup_steps=0.1,
        dataloader_drop_last=True,
        save_strategy="epoch",
        save_total_limit=1,
        logging_strategy="epoch",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(
        model=model, args=settings, train_dataset=dataset, loss=MultipleNegativesRankingLoss(model)
    )
    trainer.train()
    found = {"seconds": time.process_time() - start, "steps": trainer.state.global_step}
    print(json.dumps(found | {"table": list(module.embedding.weight.shape)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
