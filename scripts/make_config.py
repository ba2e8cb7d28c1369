"""Write a training config for another language: its code, its own tokenizer and its weights."""

import argparse
from pathlib import Path

import spacy
from spacy.util import load_config
from thinc.api import Config
from wasabi import msg

from bert_spacy.defaults import DEFAULTS
from bert_spacy.sources import SOURCES
from bert_spacy.util import atomic_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="A training config of configs/.")
    parser.add_argument("output", type=Path, help="The config to write.")
    parser.add_argument("--lang", required=True, help="Language code, such as en.")
    parser.add_argument("--weights", help="An alias, a Hugging Face folder, or a hub name.")
    parser.add_argument(
        "--learn-rate",
        type=float,
        help="Rate of the encoder: 1e-4 to 3e-4 for albert-tiny-zh, 2e-5 to 5e-5 for others.",
    )
    args = parser.parse_args()
    try:
        config = make_config(args.config, args.lang, args.weights, args.learn_rate)
        with atomic_file(args.output) as file_:
            file_.write(config.to_str() + "\n")
    except (OSError, ValueError, ImportError) as err:
        msg.fail(f"Can't make {args.output}", str(err), exits=1)
    msg.good(f"Config for '{args.lang}'", str(args.output))
    for note in find_doubts(config, load_config(args.config, interpolate=False)):
        msg.warn(note)


def make_config(
    path: Path, lang: str, weights: str | None = None, learn_rate: float | None = None
) -> Config:
    """Read a config and put in another language.

    path (Path): The config.
    lang (str): Language code. The tokenizer is the one of `spacy.blank(lang)`,
        unless the config is in that language already.
    weights (str): An alias, a folder, or a hub name; None to keep those of the config.
    learn_rate (float): Highest rate of the encoder; None to keep that of the config.
    RETURNS (Config): The config, its references kept.
    RAISES (ValueError): If it is no config of a pipeline; ImportError for an unknown language.
    """
    config = load_config(path, interpolate=False)
    if "nlp" not in config:
        raise ValueError(f"{path} has no section [nlp]: it trains no pipeline of a language.")
    if config["nlp"]["lang"] != lang:
        default = spacy.blank(lang).config
        config["nlp"]["lang"] = lang
        config["nlp"]["tokenizer"] = default["nlp"]["tokenizer"]
        config["initialize"]["tokenizer"] = default["initialize"]["tokenizer"]
        if "bert_qa" in config["components"]:  # a Chinese token is a character
            usual = DEFAULTS["bert_qa"]["max_answer_tokens"]
            config["components"]["bert_qa"]["max_answer_tokens"] = usual
    if weights is not None:
        config["components"]["bert_encoder"]["model"]["name"] = weights
    if learn_rate is not None:
        config["training"]["optimizer"]["learn_rate"]["initial_rate"] = learn_rate
    return config


def find_doubts(config: Config, before: Config) -> list[str]:
    """Say which weights and rate of a config may not suit what was changed in it.

    config (Config): The new config.
    before (Config): The config that it was made of.
    RETURNS (list[str]): Sentences for the user.
    """
    lang = config["nlp"]["lang"]
    weights, old_weights = (
        x["components"]["bert_encoder"]["model"]["name"] for x in (config, before)
    )
    rate, old_rate = (
        x["training"]["optimizer"]["learn_rate"]["initial_rate"] for x in (config, before)
    )
    if weights in SOURCES and SOURCES[weights].language != lang:
        made_for = SOURCES[weights].language
        return [f"'{weights}' was made for '{made_for}', not '{lang}'. Give others by --weights."]
    if weights != old_weights and rate == old_rate:
        return [
            f"The learning rate is still the one for '{old_weights}', {rate}. For weights of six "
            "layers or more give --learn-rate 5e-5 or less."
        ]
    return []


if __name__ == "__main__":
    main()
