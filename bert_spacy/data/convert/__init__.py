"""Foreign files become `.spacy` files once, and every bad line is reported."""

from .choices import read_arc, read_c3, read_swag
from .conll import ConllOptions, read_conll
from .formats import FORMATS, Format, find_files, get_format
from .jsonl import JsonlOptions, read_cluener, read_jsonl
from .labels import Options, read_label_map
from .pairs import GlueOptions, PairOptions, read_glue, read_pairs
from .rows import ChoiceRow, PairRow, QuestionRow, Row, RowError, RowNote, TextRow, WordsRow
from .run import Summary, convert, make_docs, read_rows
from .squad import SquadOptions, read_squad
from .tables import TableOptions, read_csv, read_tsv

__all__ = [
    "FORMATS",
    "ChoiceRow",
    "ConllOptions",
    "Format",
    "GlueOptions",
    "JsonlOptions",
    "Options",
    "PairOptions",
    "PairRow",
    "QuestionRow",
    "Row",
    "RowError",
    "RowNote",
    "SquadOptions",
    "Summary",
    "TableOptions",
    "TextRow",
    "WordsRow",
    "convert",
    "find_files",
    "get_format",
    "make_docs",
    "read_arc",
    "read_c3",
    "read_cluener",
    "read_conll",
    "read_csv",
    "read_glue",
    "read_jsonl",
    "read_label_map",
    "read_pairs",
    "read_rows",
    "read_squad",
    "read_swag",
    "read_tsv",
]
