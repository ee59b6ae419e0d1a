"""Views of models: what those who bring their own kind of model write against."""

from .models.layer_view import Affine, LayerView, Signal, Untouched
from .models.model_view import ModelView, as_view

__all__ = ["Affine", "LayerView", "ModelView", "Signal", "Untouched", "as_view"]
