#!/usr/bin/env bash
# skl2onnx 1.20.0, scikit-learn 1.9.1: the logits of an exported MLPClassifier.
# Guess: the option raw_scores=True, which other classifiers of scikit-learn take, exports the perceptron's logits
# in place of its probabilities.
# Seen: NameError: the converter of MLPClassifier knows nocl, output_class_labels and zipmap alone; the graph ends in
# probabilities, and the logits are an inner tensor. LogisticRegression takes the option.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check skl2onnx==1.20.0 scikit-learn==1.9.1 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np, skl2onnx
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

X = np.random.default_rng(0).standard_normal((200, 6))
y = np.digitize(X[:, 0], [-0.5, 0.5])
kind = skl2onnx.common.data_types.FloatTensorType([None, 6])

def outputs(model):
    options = {id(model): {"zipmap": False, "raw_scores": True}}
    onnx = skl2onnx.convert_sklearn(model.fit(X, y), initial_types=[("x", kind)], options=options)
    return [output.name for output in onnx.graph.output]

print("LogisticRegression:", outputs(LogisticRegression()))
try:
    print("MLPClassifier:", outputs(MLPClassifier((8,), max_iter=30, random_state=0)))
except NameError as error:
    print("MLPClassifier: NameError:", error)
    assert "raw_scores" in str(error)
else:
    raise AssertionError("this has changed: the option is taken")
PYTHON
