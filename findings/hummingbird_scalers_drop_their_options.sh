#!/usr/bin/env bash
# hummingbird-ml 0.4.12 with scikit-learn 1.9.1 and torch 2.13.0 (CPU): scalers converted to torch.
# Guess: convert gives a model with the same outputs as scikit-learn's, up to rounding to float32, and refuses options
# that it does not have. StandardScaler(with_mean=False), the one for sparse data, keeps zeros zero.
# Seen: all three are converted without a word. StandardScaler(with_mean=False) subtracts the mean, so that no zero is
# left. MinMaxScaler(clip=True) does not clip. Normalizer makes NaN of a row of zeros, which scikit-learn
# leaves as it is. StandardScaler() and MinMaxScaler(), and Normalizer on the other rows, are right, and RobustScaler
# does keep to with_centering=False.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$work/env/bin/pip" install --quiet --disable-pip-version-check hummingbird-ml==0.4.12 scikit-learn==1.9.1 \
    setuptools==84.2.1
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
from hummingbird.ml import convert
from sklearn.preprocessing import MinMaxScaler, Normalizer, RobustScaler, StandardScaler

train = np.array([[1.0, 0], [3, 0], [0, 4], [0, 0]])
test = 2 * train
scalers = {
    StandardScaler(): "right",
    StandardScaler(with_mean=False): "as with the mean",
    RobustScaler(with_centering=False): "right",
    MinMaxScaler(): "right",
    MinMaxScaler(clip=True): "not clipped",
    Normalizer(): "NaN in the row of zeros",
}
for scaler, expected in scalers.items():
    exact = scaler.fit(train).transform(test)
    made = convert(scaler, "torch", train).transform(test)
    print(f"{scaler}: {expected}")
    print(f"    scikit-learn {exact.round(2).tolist()}, converted {made.astype(float).round(2).tolist()}")
    other = {
        "right": exact,
        "as with the mean": (test - train.mean(axis=0)) / train.std(axis=0),
        "not clipped": test / train.max(axis=0),
        "NaN in the row of zeros": np.where(test.any(axis=1, keepdims=True), exact, np.nan),
    }[expected]
    assert np.allclose(made, other, atol=1e-5, equal_nan=True), "this has changed"
    assert expected == "right" or not np.allclose(made, exact, atol=0.1, equal_nan=True)
    if expected == "as with the mean":
        assert (exact[test == 0] == 0).all() and not (made == 0).any(), "this has changed"
PYTHON
