// Layers that read one signal and are to do with few of its units: optimal brain surgery on groups
// of features, for all outputs together, and exchanges of groups afterwards.
#pragma once

#include <vector>

#include "nettrim/budget.hpp"

namespace nettrim {

// One reader of the signal, or several with the same samples: the loss of its weights U is half of
//   tr(U' gram U) - 2 tr(correlations' U).
// Views of row-major arrays that outlive the call.
struct UnitsForm {
  Index features = 0, outputs = 0;
  const double* gram = nullptr;          // features x features, symmetric, definite
  const double* correlations = nullptr;  // features x outputs
  const int* unit_of = nullptr;          // features; negative for those that always stay
};

struct UnitsProgram {
  Index units = 0;
  const bool* keep = nullptr;  // units; null means that all may go
  std::vector<UnitsForm> forms;
};

// The order in which units are given up, and by how much the loss grows with each.
struct UnitsElimination {
  std::vector<int> order;
  std::vector<double> losses;
  bool complete = true;  // false after an interrupt
};

// Always the unit without which the loss grows least, all weights that are left following; all
// sizes cost about as much as three inverses of the Gram matrices. From the time limit on those
// that are left go by what they cost then.
UnitsElimination eliminate_units(const UnitsProgram& program, const BudgetOptions& options = {});

struct UnitsExchange {
  std::vector<bool> kept;
  Index swaps = 0;
  double gain = 0;  // by how much the loss has become less
  bool complete = true;
};

// As many units as are kept, of less loss: always the one pair of units that gains most changes
// places, at most `most` times, as long as it gains more than `worthwhile`.
UnitsExchange exchange_units(const UnitsProgram& program, const bool* kept, Index most,
                             double worthwhile, const BudgetOptions& options = {});

}  // namespace nettrim
