// Linear layers in Gram space: with X = Q [R; 0] the program over n_samples rows is the program
// over n_features rows with X = R and Y = Q'Y, so that an iteration costs the same for any
// n_samples. Orthogonal rather than X'X, which would square the condition of X.
#pragma once

#include "factor.hpp"
#include "layer/program.hpp"

namespace nettrim::layer {

// Must outlive its program().
class GramSpace {
 public:
  template <class S>
  explicit GramSpace(const UnitProgram<S>& program);

  // In the unit-size program's units. Epsilon is what the part of Y outside the range of X leaves.
  LayerProgram<double> program() const;
  void aim(double level);  // another level of the unit-size program
  double level() const { return level_; }
  bool feasible() const { return feasible_; }
  double outside() const { return outside_; }  // norm of the part of Y outside the range of X

  // The multipliers of the given program that prove what `dual` (outputs x features) proves here.
  Matrix<double> lift(const Matrix<double>& dual) const;
  // A ray that proves that no weights come within epsilon of Y: the part of Y outside X's range.
  Matrix<double> outside_part() const;

 private:
  OrthogonalBasis basis_;
  Matrix<double> coordinates_;  // Q'Y, samples x outputs
  Matrix<double> X_, Y_;        // R' and (Q'Y)' on the features: what program() looks at
  Form form_;
  double outside_, level_given_ = 0, level_ = 0;
  bool feasible_ = true;
};

}  // namespace nettrim::layer
