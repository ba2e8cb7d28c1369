"""BERT fine-tuning inside spaCy pipelines."""

__version__ = "0.1.0"
