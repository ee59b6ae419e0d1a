"""A layer in blocks of outputs that agree on one penalty, here or on the workers of an executor."""
