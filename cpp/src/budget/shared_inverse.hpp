// The inverse of what the outputs' Gram matrices are in the mean.
#pragma once

#include "budget/gram.hpp"

namespace nettrim::budget {

// Rows count by how many outputs they are active in. In a linear layer that is every output's own
// matrix; behind a ReLU it does for weights that are cheap to lose.
template <class S>
class SharedInverse {
 public:
  explicit SharedInverse(const BudgetProgram& program);
  // Over some features.
  void compute(const BudgetProgram& program, const BudgetGram& gram, const Features& features,
               int threads);

  bool is_exact() const { return is_exact_; }
  // The lower triangle, at the size of an output's own.
  Matrix<S> of(const OutputRows& rows) const;

 private:
  bool is_exact_;
  double pull_;
  Matrix<S> inverse_;                 // lower triangle
  Eigen::VectorXd shares_, squares_;  // of every sample: its weight in the mean, its length squared
};

}  // namespace nettrim::budget
