// Weights that are right but for a few inactive signals slightly above their bounds, the last thing
// that alternating directions mend: a small change of the weights in use lowers them.
#pragma once

#include "layer/certificate.hpp"

namespace nettrim::layer {

// Whether nothing else is wrong, and this only a little.
template <class S>
bool only_rows_are_high(const UnitProgram<S>& program, const Certificate& c, double tol);

// For each output the least change of its nonzero weights that takes every excess above `allowed`
// away. False if there are too many.
template <class S>
bool lower_rows(const UnitProgram<S>& program, double allowed, Matrix<S>& weights);

}  // namespace nettrim::layer
