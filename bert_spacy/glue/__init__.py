"""GLUE from a folder of its files: fine-tune each task, score it, predict its test set."""
