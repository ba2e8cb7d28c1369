"""Fit the vocabulary of an encoder to a corpus: analyze, extend, prune."""
