"""``python -m bert_spacy`` is the command ``bert-spacy``."""

from .cli.app import main

if __name__ == "__main__":
    main()
