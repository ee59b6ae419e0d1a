// Inverses of all outputs' Gram matrices over the same features, from what they have in common.
#pragma once

#include "budget/gram.hpp"

namespace nettrim::budget {

// All rows pull: with C = pull X'X + ridge, an output's matrix is C + V V', where V has the rows
// that count in full. If these are fewer than the features, to update C's inverse is less work than
// to take one of C + V V'.
template <class S>
class SharedInverse {
 public:
  // Over some features; it serves outputs with few such rows.
  SharedInverse(const BudgetProgram& program, const BudgetGram& gram, Features features,
                int threads);

  // The lower triangle of an output's; false where it is better taken from scratch.
  bool write(const OutputRows& rows, Matrix<S>& inverse) const;

 private:
  // Whether it saves more work than it takes.
  bool pays(const BudgetProgram& program) const;

  const BudgetGram& gram_;
  double pull_;
  Features features_;
  Matrix<S> inverse_;  // of C, lower triangle; empty where it does not pay
  Matrix<S> images_;   // C^-1 X', features x samples
};

}  // namespace nettrim::budget
