// Few weights of least quadratic loss, for layers too wide to give up weights one by one:
// alternating directions on Gram matrices (ALPS: Meng et al., NeurIPS 2024). The cost does not
// depend on the number of samples.
#pragma once

#include "nettrim/budget.hpp"

namespace nettrim {

// The loss of an output's weights u is half of  u'G u - 2 c'u + ridge s |u - prior|^2, where G is
// the Gram matrix of its form and s the mean of G's diagonal, or 1 where that is zero. Views of
// row-major arrays that outlive the call.
struct QuadraticProgram {
  Index features = 0, outputs = 0, forms = 1;
  const double* grams = nullptr;         // forms x features x features, symmetric
  const int* form_of = nullptr;          // outputs; null means the first form for all
  const double* correlations = nullptr;  // features x outputs
  const double* prior = nullptr;         // features x outputs; where the search begins
  double ridge = 0;                      // positive
  bool rough = false;  // whether weights on a support may miss a hundredth of what they can gain
};

struct QuadraticFit {
  Matrix<double> weights;  // outputs x features: row-major memory is features x outputs
  Index iterations = 0;    // of alternating directions
  bool complete = true;    // false after an interrupt
};

// At most `budget` weights besides those of features to be kept, fitted to the loss. When time is
// up, those that alternating directions had by then, as they are.
QuadraticFit solve_quadratic(const QuadraticProgram& program, const BudgetPattern& pattern,
                             Index budget, const BudgetOptions& options = {});

// The weights of least loss on a support (outputs x features), from the prior on it.
QuadraticFit fit_quadratic(const QuadraticProgram& program, const bool* support,
                           const BudgetOptions& options = {});

struct SupportChoice {
  Matrix<bool> support;  // outputs x features
  bool complete = true;
};

// Which weights to keep behind a ReLU, on the Gram matrix of all samples: a row that is inactive
// asks for the signal there is, at most its bound, and is asked anew as the weights move. In units
// of the program: its ridge is absolute, its pull not used.
SupportChoice choose_support(const BudgetProgram& program, const BudgetPattern& pattern,
                             Index budget, const BudgetOptions& options = {});

}  // namespace nettrim
