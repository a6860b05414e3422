"""Texts as ``bench.py`` times them: hashed to letter trigrams, and trained on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import yaml

from benchmarks import rivals
from benchmarks.inputs import shipped_lines
from benchmarks.report import Row, Section, alternate, rates
from benchmarks.training import Training, step_limit
from dssm_lightning.api import load_datamodule, load_untrained
from dssm_lightning.features import HashedTrigrams

TLDR = Path(__file__).resolve().parents[2] / "configs" / "tldr.yaml"


def hashing(num_lines: int = 74_067, repeats: int = 5) -> Section:
    """`HashedTrigrams` against scikit-learn's `HashingVectorizer(analyzer="char_wb", ngram_range=(3, 3))`.

    English lines join a text of tldr-pages and the name of an emoji. The others join three labels or keywords of emoji
    without a Latin letter: in Russian and Ukrainian, or in Bengali, Hindi, Thai, Japanese, Korean and Chinese. Only
    ours brings letters into one Unicode form (NFKC). The two cut words at punctuation differently; the
    notes say how many trigrams each finds.
    """
    ours, theirs = HashedTrigrams(name="text", num_buckets=1 << 20), rivals.trigram_vectorizer()
    counting = rivals.trigram_vectorizer(norm=None, alternate_sign=False)
    rows, notes = [], []
    for kind, texts in shipped_lines(num_lines).items():
        megabytes, listed = sum(texts.str.len_bytes()) / 1e6, texts.to_list()
        seconds = alternate([partial(ours.encode, texts), partial(theirs.transform, listed)], repeats)
        rows.append(Row(f"{kind}: {num_lines:,} lines", "MB/s", *(rates(megabytes, each) for each in seconds)))
        mine, others = len(ours.encode(texts).values), counting.transform(listed).sum()
        notes.append(
            f"{kind}: {megabytes:.1f} MB, {mine / num_lines:.1f} trigrams a line, theirs {others / num_lines:.1f}."
        )
    return Section("Letter trigrams", rows, notes)


def text_table(batch_size: int = 1024, steps: int = 3, repeats: int = 9) -> Section:
    """`configs/tldr.yaml` as it is, against the same module with `nn.EmbeddingBag` text tables and Adam for all.

    A step is a whole one (batch assembly, forward, backward, optimizer), without Lightning's share. All sides begin
    with the same weights and see the same batches.
    """
    with TemporaryDirectory() as folder:
        data = load_datamodule([str(TLDR)])
        data.cache_dir = Path(folder)
        section = yaml.safe_load(TLDR.read_text(encoding="utf-8"))["model"]
        models = [load_untrained([str(TLDR)])]
        for fused in (None, True):
            path = Path(folder, "rival.yaml")
            path.write_text(yaml.safe_dump({"model": rivals.with_dense_tables(section, fused)}), encoding="utf-8")
            models.append(load_untrained([str(path)]))
        for model in models:
            model.build(data.schemas)
            model.load_state_dict(models[0].state_dict())
        sides = [Training(model, data, batch_size, steps) for model in models]
        ours, *others = alternate(sides, repeats)
        note = step_limit(sides[0], median(ours) / steps)
    assert max(abs(side.losses[0] - sides[0].losses[0]) for side in sides) < 1e-5, "the sides compute the same loss"
    pairs, rivals_named = steps * batch_size, zip(("Adam", "Adam(fused=True)"), others, strict=True)
    limit = "named table rows moved at memory speed, products at GEMM speed"
    rows = [
        Row(f"nn.EmbeddingBag, {name}", "pairs/s", rates(pairs, ours), rates(pairs, theirs), limit)
        for name, theirs in rivals_named
    ]
    return Section("Training with text tables", rows, [note])
