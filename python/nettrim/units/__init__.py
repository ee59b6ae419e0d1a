"""Units, channels and heads: few of them, the least error of all layers that read them."""
