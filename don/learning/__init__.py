"""Learned policies: their networks, the artefact they are kept in, and how they act.

Torch is imported by `don.learning.nets` alone, which only training needs: a saved `Model` acts with
`don.learning.forward`, compiled and independent of the batch it is asked in.
"""
