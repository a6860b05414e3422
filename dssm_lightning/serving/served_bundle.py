"""A bundle that is served: opened, verified and warm."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dssm_lightning.features.readings import Truncation
from dssm_lightning.retrieval.bundle.files import MANIFEST, names_in
from dssm_lightning.retrieval.bundle.manifest import Manifest, read_manifest
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.retrieval.towers import Side
from dssm_lightning.serving.answers import json_bytes
from dssm_lightning.serving.decoding import RecordReader
from dssm_lightning.serving.example_values import Examples
from dssm_lightning.serving.file_stamps import Stamps, is_as_before, stamps_of
from dssm_lightning.serving.hit_json import HitJson
from dssm_lightning.serving.info import bundle_facts
from dssm_lightning.serving.settings import Limits, NamedBundle, ServingSettings
from dssm_lightning.utils.errors import UserError

_NUMBERS = itertools.count()


class ServedBundle:
    """A bundle under a name.

    It is closed when it was retired and its last request has been answered.

    Args:
        name: by which requests ask for it.
        retriever: what answers.
        manifest: what the bundle says of itself.
        checksum: SHA-256 of its manifest, which lists the checksums of all its files.
        limits: of the values in requests.
    """

    def __init__(self, name: str, retriever: Retriever, manifest: Manifest, checksum: str, limits: Limits) -> None:
        self.name, self.retriever, self.manifest, self.checksum = name, retriever, manifest, checksum
        self.number = next(_NUMBERS)
        """Distinguishes it from every other one of this process."""
        self.queries = RecordReader("query", retriever.schemas.query, limits)
        self.candidates = RecordReader("candidate", retriever.schemas.candidate, limits)
        self.version, self.name_json = checksum[:12], json_bytes(name)
        self.facts = bundle_facts(name, checksum, retriever, manifest)
        """What ``GET /info`` says of it."""
        self.stamps = self.stamps_now()
        """The files that were opened."""
        address = partial(_picture_address, retriever.corpus, f"/pictures/{quote(name)}/", f"?v={self.version}")
        self.hits = HitJson(address if self.has_pictures else None)
        """Writes hits as answers have them."""
        self._in_use, self._is_retired = 0, False

    def stamps_now(self) -> Stamps:
        """Return the stamp of each file, as it is now; without one of a file that is gone."""
        assert self.retriever.folder is not None
        return stamps_of(self.retriever.folder, (MANIFEST, *self.manifest.files))

    def reader(self, side: Side) -> RecordReader:
        """Return what reads the queries, or the candidates, of requests."""
        return self.queries if side == "query" else self.candidates

    # -- what is shown -------------------------------------------------------------------------------------------------

    @cached_property
    def has_pictures(self) -> bool:
        """Whether the bundle has small pictures of candidates."""
        return self.retriever.corpus.pictures is not None

    def truncations(self, side: Side, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what the features cut off the values of a record."""
        return [as_object(each) for each in self.retriever.truncations(record, side)]

    def readings(self, side: Side, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what the values of a record become before the tower sees them."""
        return [
            {
                **reading._asdict(),
                "values": [each._asdict() for each in reading.values],
                "truncations": [as_object(each) for each in reading.truncations],
            }
            for reading in self.retriever.read(record, side)
        ]

    # -- life ----------------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Keep the bundle open for a request."""
        self._in_use += 1

    def release(self) -> None:
        """End what :meth:`hold` began."""
        self._in_use -= 1
        self._close_unused()

    def retire(self) -> None:
        """Close the bundle when its last request has been answered."""
        self._is_retired = True
        self._close_unused()

    def _close_unused(self) -> None:
        if self._is_retired and not self._in_use:
            self.retriever.close()


def as_object(truncation: Truncation) -> dict[str, Any]:
    """Return a truncation as an answer has it."""
    return truncation._asdict()


def open_bundles(settings: ServingSettings) -> list[ServedBundle]:
    """Open, verify and warm all bundles of a server.

    Raises:
        UserError: a bundle is missing or damaged, or cannot answer.
    """
    threads, verify = settings.threads, settings.verify
    return [open_bundle(bundle, settings.limits, threads, verify) for bundle in settings.bundles]


def open_bundle(bundle: NamedBundle, limits: Limits, threads: int = 1, verify: bool = True) -> ServedBundle:
    """Open, verify and warm a bundle. Errors as for :func:`open_bundles`."""
    try:
        place = Path(bundle.place)
        before = stamps_of(place, names_in(place)) if place.is_dir() else {}  # none of a URL: nobody writes its cache
        retriever = Retriever.load(bundle.place, threads=threads, verify=verify)
        folder = retriever.folder
        assert folder is not None
        manifest = read_manifest(folder)
        checksum = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        served = ServedBundle(bundle.name, retriever, manifest, checksum, limits)
        _require_unchanged(served, before)
        _warm(served)
    except UserError:
        raise
    except Exception as error:  # whatever a program, an index or a file of a broken bundle raises
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"bundle {bundle.place!r} cannot be served: {reason:.500}") from error
    return served


def _require_unchanged(bundle: ServedBundle, before: Stamps) -> None:
    """Refuse a bundle whose files were written while they were opened: what was verified may not be what is mapped.

    Raises:
        UserError: a file was changed or replaced.
    """
    changed = [name for name, now in bundle.stamps.items() if before and not is_as_before(before.get(name), now)]
    if changed:
        raise UserError(
            f"bundle {bundle.name}: {changed[0]} was written while the bundle was opened; put a whole bundle in its "
            "place, as export and pull do, and open it again"
        )


def _picture_address(corpus: Corpus, before: str, after: str, candidate_id: Any) -> str | None:
    """Return where the picture of a candidate is served; None = it has none."""
    row = corpus.rows.find(candidate_id)
    has_one = row is not None and corpus.pictures is not None and corpus.pictures.at(row) is not None
    return f"{before}{row}{after}" if has_one else None


def _warm(bundle: ServedBundle) -> None:
    """Answer one query, so that the first client does not wait for what is made at first use, and what is broken shows.

    Raises:
        UserError: the bundle cannot answer.
    """
    retriever, query = bundle.retriever, Examples(bundle.retriever).query()
    if query is None:  # features of which no example is known
        retriever.search_vectors(retriever.corpus.embeddings[:1], k=1)
    else:
        bundle.hits.of(retriever.search(bundle.queries.read(query), k=1))
