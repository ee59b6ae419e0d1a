"""Units, channels and heads of a module of PyTorch, and the module without some of them."""
