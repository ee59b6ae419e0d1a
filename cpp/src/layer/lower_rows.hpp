// Weights that are right but for a few inactive signals slightly above their bounds, the last thing
// that alternating directions mend: a small change of the weights in use lowers them.
#pragma once

#include "layer/search.hpp"

namespace nettrim::layer {

// Where nothing else is wrong with an answer, and this only a little, the least change of each
// output's nonzero weights that takes its excesses within the tolerance; if that makes a proof.
template <class S>
void lower_last_rows(const UnitProgram<S>& program, double tol, EngineResult<S>& a);

}  // namespace nettrim::layer
