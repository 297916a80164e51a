"""Keeps the stores in order beside the steps: files are checked, pruned and backed up."""
