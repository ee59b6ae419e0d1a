// Dual candidates of a program whose features come in groups:
//   ||X_g'G||_F <= price_g  (times the penalty)  and  x_j'G = 0  for features j that cost nothing.
//
// Shrinking G brings it within the prices, but no multipliers in floating point satisfy the
// equations. An exact G - H is near, with h = A (A'A)^{-1} A'g for each output, A the free features
// over the samples where its multipliers may change, which are the active ones and those firmly
// below zero: it loses ||h|| (||target there|| + epsilon) at most, and every ||X_g'G|| changes by
// at most ||X_g|| ||H||. What is left of the equations by rounding is allowed for in this way.
#pragma once

#include "layer/repair.hpp"

namespace nettrim::layer {

// Sums of such a candidate, or of an exact one near it. An output for which there is none has a
// steepness beyond all scales.
template <class S>
DualSums sums_of_groups(const UnitProgram<S>& program, const Evidence& evidence,
                        const Matrix<S>& dual);

// Turns a candidate into one that satisfies the equations but for rounding: zero in the outputs
// where that leads nowhere.
template <class S>
void meet_free_features(const UnitProgram<S>& program, Matrix<S>& dual);

}  // namespace nettrim::layer
