"""What a student learns from, read once before it begins: counted, checked, told apart."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spacy.vocab import Vocab

from ...data.corpus import Corpus
from ...data.docbin import SUFFIX, read_docbin
from ...errors import Errors
from ...util import checksum_all
from ..corpus import SUFFIXES, OnProblem, TextCorpus
from .settings import Settings
from .teacher import Teacher, check_labels


def read_data(
    settings: Settings, teacher: Teacher, on_problem: OnProblem
) -> dict[str, dict[str, Any]]:
    """Read all training and held-out data.

    settings (Settings): Says where they are.
    teacher (Teacher): The teacher: a pipeline reads gold Docs, an encoder texts.
    on_problem (Callable): Called with each line of texts that is skipped.
    RETURNS (dict[str, dict[str, Any]]): What "train" and "dev" hold, and the "sha256" of it.
    RAISES (ValueError): B413, B414, B670 and B671 for bad data; B721 for labels that the teacher
        does not know; B722 for plain text where the teacher is a pipeline.
    """
    found = {}
    for part, names in (("train", settings.train), ("dev", settings.dev)):
        paths = [Path(name) for name in names]
        if teacher.head_names:
            files = Corpus(paths).find_shards()
            counts = {"documents": _read_docs(part, files, teacher)}
        else:
            corpus = TextCorpus(paths, on_problem, show_progress=True)
            for _ in corpus:
                pass  # to count the texts, and to tell of bad lines
            files, counts = corpus.paths, asdict(corpus.counts)
        found[part] = {**counts, "sha256": checksum_all(files)}
    return found


def _read_docs(part: str, files: Sequence[Path], teacher: Teacher) -> int:
    for path in files:
        if path.suffix.lower() in SUFFIXES and path.suffix.lower() != SUFFIX:
            reason = "a teacher that is a pipeline reads Docs"
            allowed = (
                f"{SUFFIX} files and folders of them, which python -m bert_spacy convert writes; "
                "plain text where the teacher is an alias or a folder of weights"
            )
            message = Errors.B722.format(name=part, value=str(path), reason=reason, allowed=allowed)
            raise ValueError(message)
    vocab = Vocab()
    n_docs = sum(check_labels(teacher, read_docbin(path, vocab)) for path in files)
    if not n_docs:
        raise ValueError(Errors.B424.format(paths=", ".join(map(str, files))))
    return n_docs
