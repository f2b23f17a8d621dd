"""Runs and their records: one run, many runs, and what their scores allow to say."""
