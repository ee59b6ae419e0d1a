// One output's rows: what they ask, and which of them count at a signal.
#pragma once

#include <vector>

#include "nettrim/budget.hpp"

namespace nettrim::budget {

// Rows that begin and cease to count in full.
struct Change {
  std::vector<Index> entering, leaving;
  bool empty() const { return entering.empty() && leaving.empty(); }
};

class OutputRows {
 public:
  OutputRows(const BudgetProgram& program, Index output);

  Index size() const { return static_cast<Index>(counts_.size()); }
  bool is_active(Index i) const { return active_[static_cast<std::size_t>(i)] != 0; }
  bool counts(Index i) const { return counts_[static_cast<std::size_t>(i)] != 0; }  // in full
  double upper(Index i) const { return upper_[i]; }

  // Lets inactive rows count where the signal is above their bound, and tells what has changed.
  Change look(const Eigen::VectorXd& signal);

  // Of every row at the signal, in the state of the last look: the loss without its ridge, the
  // residual by which X' is to be multiplied for the gradient's negative.
  double loss(const Eigen::VectorXd& signal) const;
  Eigen::VectorXd residual(const Eigen::VectorXd& signal) const;
  // By how much every row counts in second derivatives.
  Eigen::VectorXd weights() const;

 private:
  double pull_;
  Eigen::VectorXd target_, upper_;
  std::vector<char> active_, counts_;  // bits would be slower
};

}  // namespace nettrim::budget
