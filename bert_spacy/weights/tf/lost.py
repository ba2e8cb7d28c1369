"""What the files of a TensorFlow checkpoint cannot say of a Hugging Face folder."""

from collections.abc import Mapping
from typing import Any

from transformers import PretrainedConfig

from .files import SPECIAL, is_cased

# SOURCE: get_activation and layer_norm in modeling.py of google-research/bert and ALBERT. Their
# gelu is the approximation by tanh, which has other names in Transformers.
_KNOWN_ACTS = ("gelu", "linear", "relu", "tanh")
_TANH_GELUS = ("gelu_fast", "gelu_new", "gelu_pytorch_tanh")
_EPSILON = 1e-12


def tell_lost(
    config: PretrainedConfig, tokenizer: Mapping[str, Any], pieces: list[str]
) -> list[str]:
    """Tell what gets lost on the way to a TensorFlow checkpoint.

    config (PretrainedConfig): The configuration of the model.
    tokenizer (Mapping[str, Any]): Settings of the BertTokenizer.
    pieces (list[str]): The vocabulary.
    RETURNS (list[str]): Sentences, none if nothing is lost.
    """
    return [*_tell_tokenizer(tokenizer, pieces), *_tell_config(config)]


def _tell_tokenizer(settings: Mapping[str, Any], pieces: list[str]) -> list[str]:
    """Compare with what vocab.txt and the rules of the original programs give."""
    notes = []
    lowercase = settings.get("do_lower_case", True)
    if lowercase == is_cased(pieces):
        does, option = ("are", "--lowercase") if lowercase else ("are not", "--cased")
        notes.append(
            f"Texts {does} lower-cased, which vocab.txt does not tell: import with {option}, "
            f"and give do_lower_case={lowercase} to TensorFlow's programs."
        )
    strip = settings.get("strip_accents")
    if strip is not None and strip != lowercase:
        notes.append(
            f"strip_accents={strip} is lost: accents go where texts are lower-cased, else stay."
        )
    if not settings.get("tokenize_chinese_chars", True):
        notes.append("tokenize_chinese_chars=False is lost: Chinese characters stand alone.")
    absent = [piece for piece in SPECIAL if piece not in pieces]
    if absent:
        notes.append(f"vocab.txt has no {', '.join(absent)}, without which it is not imported.")
    return notes


def _tell_config(config: PretrainedConfig) -> list[str]:
    """Name the settings that TensorFlow's programs do not know or heed."""
    notes = []
    act, epsilon = config.hidden_act, config.layer_norm_eps
    if act not in _KNOWN_ACTS:
        advice = "write gelu for them" if act in _TANH_GELUS else "they have nothing like it"
        notes.append(f"hidden_act {act} is not known to TensorFlow's programs: {advice}.")
    if epsilon != _EPSILON:
        notes.append(
            f"layer_norm_eps is {epsilon}; import-tf heeds it, and the programs of "
            f"google-research take {_EPSILON} always."
        )
    return notes
