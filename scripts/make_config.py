"""Write a training config for another language: its code and its own tokenizer."""

import argparse
from pathlib import Path

import spacy
from spacy.util import load_config
from thinc.api import Config
from wasabi import msg

from bert_spacy.defaults import DEFAULTS
from bert_spacy.util import atomic_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="One of configs/*.cfg.")
    parser.add_argument("output", type=Path, help="The config to write.")
    parser.add_argument("--lang", required=True, help="Language code, such as en.")
    args = parser.parse_args()
    config = make_config(args.config, args.lang)
    with atomic_file(args.output) as file_:
        file_.write(config.to_str() + "\n")
    msg.good(f"Config for '{args.lang}'", str(args.output))


def make_config(path: Path, lang: str) -> Config:
    """Read a config and put in another language.

    path (Path): The config.
    lang (str): Language code. The tokenizer is the one of `spacy.blank(lang)`,
        unless the config is in that language already.
    RETURNS (Config): The config, its references kept.
    """
    config = load_config(path, interpolate=False)
    if config["nlp"]["lang"] != lang:
        default = spacy.blank(lang).config
        config["nlp"]["lang"] = lang
        config["nlp"]["tokenizer"] = default["nlp"]["tokenizer"]
        config["initialize"]["tokenizer"] = default["initialize"]["tokenizer"]
        if "bert_qa" in config["components"]:  # a Chinese token is a character
            usual = DEFAULTS["bert_qa"]["max_answer_tokens"]
            config["components"]["bert_qa"]["max_answer_tokens"] = usual
    return config


if __name__ == "__main__":
    main()
