// A layer with few weights: those whose loss hurts the rectified outputs least, by optimal brain
// surgery (Hassibi and Stork 1992) on the rows that a ReLU lets through.
#pragma once

#include <functional>
#include <limits>
#include <vector>

#include "nettrim/types.hpp"

namespace nettrim {

// With p = X u for an output, the loss of its weights u is half of
//   sum_active (p - target)^2 + sum_inactive max(0, p - upper)^2
//     + pull sum_inactive (p - target)^2 + ridge |u - prior|^2.
// Views of row-major arrays that outlive the call. In a linear layer everything is active.
struct BudgetProgram {
  Index samples = 0, features = 0, outputs = 0;
  const double* X = nullptr;       // samples x features
  const double* gram = nullptr;    // X'X, where it is known
  const double* target = nullptr;  // samples x outputs
  const double* upper = nullptr;   // samples x outputs, read where inactive; null means zero
  const bool* active = nullptr;    // samples x outputs; null means everything
  const double* prior = nullptr;   // features x outputs
  double pull = 0;                 // at least 0
  double ridge = 0;                // positive
};

// Which weights may go: none of a feature to be kept. Of every `group` of the other features, in
// their order, at most `most` are to stay: down to there they go first, and only then others.
struct BudgetPattern {
  const bool* keep = nullptr;  // features; null means that all may go
  Index group = 0, most = 0;   // group = 0: no such groups
};

struct BudgetOptions {
  int n_threads = 1;
  std::function<bool()> interrupted;  // asked between columns; true stops
  // Seconds. Then all that is left to do is done at once: weights go by what they cost at that
  // moment, a support gets the weights there are.
  double time_limit = std::numeric_limits<double>::infinity();
};

// The order in which each output gives up its weights, and by how much its loss grows with each.
// In place of those of features to be kept there are -1 and infinity, at the end; in place of those
// that are gone from the start as well, at the beginning.
struct Elimination {
  Matrix<int> order;      // features x outputs
  Matrix<double> losses;  // features x outputs
  bool complete = true;   // false after an interrupt
};

// Weights that go before those that go one by one, with less thought.
struct FirstRemovals {
  const bool* left = nullptr;  // features x outputs, column-major: those before all; null: none
  // How many of each output go by what all outputs have in common, if none goes before.
  Index rough = 0;
};

Elimination eliminate(const BudgetProgram& program, const BudgetPattern& pattern = {},
                      const BudgetOptions& options = {}, const FirstRemovals& first = {});

struct BudgetFit {
  Matrix<double> weights;  // features x outputs, zero out of the support
  double loss = 0;
  Index swaps = 0;  // weights that have changed places
  bool complete = true;
};

// The weights of least loss among those with a support (features x outputs, column-major), after at
// most `rounds` of swaps: weights that are cheap to lose against absent ones that gain more.
// Features to be kept (null: none) take no part in these.
BudgetFit fit_support(const BudgetProgram& program, const bool* support, Index rounds,
                      const bool* keep = nullptr, const BudgetOptions& options = {});

}  // namespace nettrim
