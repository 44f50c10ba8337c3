"""Honest evaluation: splits that do not leak, statistics that know how often luck was tried,
baselines, and a verdict in plain words. Pure but for `page`, which reads a style.
"""
