"""Add words to the vocabulary of an encoder."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ...data.convert.rows import RowError
from ...errors import Errors
from ..corpus import OnProblem
from ..folders import check_output
from .folder import Source, new_folder, open_source, write_report
from .wordlist import UNUSED, NewWord, comes_whole, find_cut, read_words

MODES, INITS = ("append", "unused"), ("mean", "normal")
KINDS = ("WordPiece", "BPE", "Unigram")
# Standard deviation of BERT's own initial weights, cut at twice that.
DEVIATION = 0.02


def extend(
    name: str,
    words: Path,
    output: Path,
    *,
    mode: str = "append",
    init: str = "mean",
    seed: int = 0,
    on_problem: OnProblem = lambda problem: None,
) -> dict[str, Any]:
    """Write a copy of a model folder in which each word of a list is one piece.

    A word becomes an entry of the WordPiece vocabulary. As WordPiece takes the longest
    piece that fits, a longer word without a piece of its own that begins with a new word
    now has it as its first piece; every other text keeps its pieces, and its hidden
    states to the bit.

    A word that the pre-tokenizer splits never comes to WordPiece as a whole: a Chinese word of
    several characters, `covid-19`, `c++`. It becomes an added token as well, matched in
    the normalized text before that split, so that case and accents count as little as
    in other words. `covid-19` is matched where no letter or digit stands beside it. Chinese has no
    spaces that could tell, so such a word is matched wherever its characters stand
    together; of two that overlap, the one that begins first, and of two that begin
    together, the longer one.

    The entries of BPE and Unigram tokenizers cannot grow without changing the pieces of
    other words. There all new words are added tokens, case counts, and only "append" is
    possible.

    name (str): A model folder or an alias.
    words (Path): One word a line, UTF-8. Bad lines are reported and left out.
    output (Path): The new folder.
    mode (str): "append" for new rows at the end of the embeddings, "unused" for the rows
        of pieces such as `[unused1]`.
    init (str): "mean" for the mean of the rows of the pieces that a word had, without
        the unknown piece if there are others; "normal" for a truncated normal
        distribution, and 0 for the bias of a masked-word head.
    seed (int): For "normal".
    on_problem (Callable): Called with each word that is left out.
    RETURNS (dict[str, Any]): The report, which is in the folder too.
    RAISES (ValueError): B672 without a word that can be added; B673 for a tokenizer of
        another kind; B674 for a setting; B675 for more words than unused pieces; B676
        for a bad output; B677, B801 to B805, B100 and B101 for a bad folder.
    SOURCE: https://github.com/google-research/bert/issues/9
    """
    for setting, value, allowed in (("mode", mode, MODES), ("init", init, INITS)):
        if value not in allowed:
            raise ValueError(
                Errors.B674.format(name=setting, value=value, allowed=", ".join(allowed))
            )
    source = open_source(name)
    _check_kind(source, mode)
    check_output(output, source.folder, words)
    found = read_words(words, source)
    spec, chosen, numbers = _place(source, found.words, mode)
    for word in found.words:
        if word not in chosen:
            cut = find_cut(source, word)
            reason = f"{word.text!r} would not come out as one piece: {cut} cuts it"
            found.problems.append(RowError(str(words), word.line, reason))
    for problem in found.problems:
        on_problem(problem)
    if not chosen:
        raise ValueError(
            Errors.B672.format(path=words, n_bad=len(found.problems), n_lines=found.n_lines)
        )
    state = _new_state(source, chosen, numbers, init, seed)
    only_unknown = sum(set(word.old_ids) == {source.unk_id} for word in chosen)
    report = {
        "source": name,
        "mode": mode,
        "init": init,
        "seed": seed,
        "pieces_before": len(source.pieces),
        "pieces_after": Tokenizer.from_str(json.dumps(spec)).get_vocab_size(),
        "rows_before": source.n_rows,
        "rows_after": len(state[source.embedding]),
        "added": len(chosen),
        "added_tokens": sum(word.is_added for word in chosen),
        "only_unknown_before": only_unknown,
        "left_out": [f"line {problem.line}: {problem.reason}" for problem in found.problems],
        "blank_lines": found.n_blank,
        "words": [
            {"word": word.text, "id": number, "pieces_before": len(word.old_ids)}
            for word, number in zip(chosen, numbers)
        ],
    }
    with new_folder(source, output, spec, state) as folder:
        options = f"--mode {mode} --init {init} --seed {seed}"
        lines = [
            f"Command: `bert-spacy vocab extend {name} {words.name} OUT {options}`",
            f"New words: {len(chosen)}, of which {report['added_tokens']} are added tokens, as the "
            f"pre-tokenizer would split them; {len(found.problems)} lines were left out",
            f"Pieces: {report['pieces_before']} before, {report['pieces_after']} after",
            "The rows of new words are not trained yet: fine-tune, or train on plain text first",
        ]
        write_report(folder, source, "New words are one piece each.", lines, report)
    return report


def _check_kind(source: Source, mode: str) -> None:
    kinds = KINDS if mode == "append" else KINDS[:1]
    if source.kind not in kinds:
        raise ValueError(
            Errors.B673.format(
                kind=source.kind, what=f"new words by {mode!r}", allowed=", ".join(kinds)
            )
        )


def _place(
    source: Source, words: Sequence[NewWord], mode: str
) -> tuple[dict[str, Any], list[NewWord], list[int]]:
    """Give ids to words; return the tokenizer, the words that come out whole, and their ids."""
    chosen = list(words)
    while True:
        numbers = _number(source, len(chosen), mode)
        spec = _make_spec(source, chosen, numbers)
        backend = Tokenizer.from_str(json.dumps(spec))
        whole = [w for w, n in zip(chosen, numbers) if comes_whole(source, backend, w, n)]
        if len(whole) == len(chosen):
            return spec, chosen, numbers
        chosen = whole


def _number(source: Source, n_words: int, mode: str) -> list[int]:
    if mode == "append":
        first = max(source.pieces.values()) + 1
        return list(range(first, first + n_words))
    taken = {token["id"] for token in source.spec["added_tokens"]}
    vocab = source.spec["model"]["vocab"]
    slots = sorted(n for piece, n in vocab.items() if UNUSED.match(piece) and n not in taken)
    if n_words > len(slots):
        raise ValueError(Errors.B675.format(n_words=n_words, n_slots=len(slots)))
    return slots[:n_words]


def _make_spec(source: Source, words: Sequence[NewWord], numbers: Sequence[int]) -> dict[str, Any]:
    spec = copy.deepcopy(source.spec)
    if source.kind == "WordPiece":
        taken = set(numbers)
        vocab = {piece: n for piece, n in spec["model"]["vocab"].items() if n not in taken}
        vocab.update((word.piece, number) for word, number in zip(words, numbers))
        spec["model"]["vocab"] = dict(sorted(vocab.items(), key=lambda item: item[1]))
    spec["added_tokens"] += [
        word.added_token(number, source.kind)
        for word, number in zip(words, numbers)
        if word.is_added
    ]
    spec["added_tokens"].sort(key=lambda token: token["id"])
    return spec


def _new_state(
    source: Source, words: Sequence[NewWord], numbers: Sequence[int], init: str, seed: int
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    where = torch.tensor(numbers)
    state = dict(source.state)
    embedding = source.state[source.embedding]
    for name in source.row_names:
        old = source.state[name]
        if init == "mean":
            rows = torch.stack([_mean_row(old, word, source.unk_id) for word in words])
        elif old.dim() == 1:
            rows = torch.zeros(len(words))
        elif name != source.embedding and torch.equal(old, embedding):
            rows = state[source.embedding][where]  # tied weights stay equal
        else:
            rows = torch.empty(len(words), *old.shape[1:])
            limit = 2 * DEVIATION
            torch.nn.init.trunc_normal_(rows, 0.0, DEVIATION, -limit, limit, generator=generator)
        size = max(len(old), max(numbers) + 1)
        new = old.new_zeros(size, *old.shape[1:])
        new[: len(old)] = old
        new[where] = rows.to(old.dtype)
        state[name] = new
    return state


def _mean_row(old: Tensor, word: NewWord, unk_id: int) -> Tensor:
    known = [number for number in word.old_ids if number != unk_id] or word.old_ids
    return old[known].float().mean(0)
