// Which engines solve a program, and in what order.
#pragma once

#include "layer/search.hpp"

namespace nettrim::layer {

// The engine of the supervisor's options. automatic: alternating directions in single precision
// until most zeros are known, newton, and alternating directions again where newton gets stuck.
template <class S>
EngineResult<S> run_engine(const UnitProgram<S>& p, const Supervisor& supervisor,
                           const Start<S>& start);

// Answers for several levels of a constrained program in turn, each from the one before: newton
// keeps its working sets. on_result(k, answer) is called while the program has level k; the call
// ends early where an interrupt or a limit ends it.
template <class S>
void run_along(UnitProgram<S>& p, const Supervisor& supervisor, const std::vector<double>& levels,
               const std::function<void(std::size_t, EngineResult<S>)>& on_result);

}  // namespace nettrim::layer
