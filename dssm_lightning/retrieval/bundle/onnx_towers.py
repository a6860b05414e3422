"""The towers and the scorer of a bundle, run by onnxruntime."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.retrieval.bundle.manifest import Manifest, read_manifest
from dssm_lightning.retrieval.bundle.programs import Program, flatten
from dssm_lightning.retrieval.towers import Floats, Side, num_rows
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged_arrays import Arrays

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
PROGRAM_ENDS = (".onnx", "model.safetensors")
"""Ends of the names of programs and of their weights."""


class OnnxTowers:
    """Runs the programs of a bundle. A program is opened when it is first needed.

    Args:
        folder: the bundle, whose files have been verified.
        manifest: its manifest.
        threads: threads of one call; several calls may run at once.

    Raises:
        UserError: onnxruntime is not installed, or cannot run a program.
    """

    def __init__(self, folder: Path, manifest: Manifest, threads: int = 1) -> None:
        _require_onnxruntime()
        self._folder, self._manifest, self._threads = folder, manifest, threads
        self.num_indexes, self.scorer = manifest.num_indexes, manifest.scorer
        self.vector_width = manifest.vector_width
        self._sessions: dict[str, InferenceSession] = {}
        self._opening = threading.Lock()

    def encode(self, side: Side, columns: Arrays) -> Floats:
        """Encoded features of B rows -> embeddings (B, D)."""
        programs = self._manifest.programs
        if not num_rows(columns):
            return np.empty((0, self._manifest.corpus.width), np.float32)
        return self._run(programs.query if side == "query" else programs.candidate, flatten(columns))

    def vectors(self, embeddings: Floats) -> Floats:
        """(B, D) -> (H, B, d)."""
        program = self._manifest.programs.vectors
        if program is None:
            return embeddings[None]
        if not len(embeddings):
            return np.empty((self.num_indexes, 0, self._manifest.corpus.width // self.num_indexes), np.float32)
        return self._run(program, {"embedding": embeddings})

    def score(self, query: Floats, candidate: Floats, columns: NDArray[Any]) -> Floats:
        """(Q, D), (C, D), (Q, n) int64 -> (Q, n)."""
        if not columns.size:
            return np.empty(columns.shape, np.float32)
        inputs = {"query": query, "candidate": candidate, "columns": np.ascontiguousarray(columns)}
        return self._run(self._manifest.programs.scorer, inputs)

    def _run(self, program: Program, inputs: dict[str, Any]) -> Floats:
        session = self._session(program.file)
        try:
            fed = {each.name: inputs[each.name].astype(each.dtype, copy=False) for each in program.inputs}
            result: Floats = session.run(None, fed)[0]
        except Exception as error:  # onnxruntime derives its exceptions from Exception
            raise UserError(f"{self._folder}: onnxruntime cannot run {program.file}: {_first_line(error)}") from error
        return result

    def _session(self, file: str) -> InferenceSession:
        found = self._sessions.get(file)
        if found is not None:
            return found
        with self._opening:
            if file not in self._sessions:
                self._sessions[file] = self._open(file)
            return self._sessions[file]

    def _open(self, file: str) -> InferenceSession:
        import onnxruntime

        self.require_same_programs(read_manifest(self._folder))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its errors are raised, too
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        # Both keep memory for good, of the largest call, and of each new length of a text; neither saves time here.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        try:
            session = onnxruntime.InferenceSession(self._folder / file, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UserError(f"{self._folder}: onnxruntime cannot open {file}: {_first_line(error)}") from error
        self.require_same_programs(read_manifest(self._folder))  # replaced while it was opened
        return session

    def require_same_programs(self, manifest: Manifest) -> None:
        """Refuse a bundle that took the place of this one and has other programs, which would not fit the corpus.

        Raises:
            UserError: a program or its weights differ.
        """
        mine, found = self._manifest.files, manifest.files
        for name in mine:
            if name.endswith(PROGRAM_ENDS) and found.get(name) != mine[name]:
                raise UserError(f"{self._folder}: another bundle took its place, with another {name}: load it again")


def _require_onnxruntime() -> None:
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(
            "a bundle's programs need onnxruntime, which is not installed: pip install 'dssm-lightning[onnx]', or "
            "pip install onnxruntime"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
