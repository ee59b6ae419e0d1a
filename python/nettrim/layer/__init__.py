"""One layer program: the outputs kept, the least sum of absolute weights, and the proof."""
