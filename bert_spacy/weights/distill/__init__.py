"""A smaller student learns from a trained pipeline, or from an encoder on plain text."""
