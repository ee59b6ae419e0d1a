// Linear layers in Gram space: with X = L Q (features x samples, Q's rows orthonormal) the program
// over n_samples samples is that over n_features samples with X = L and Y = YQ', so that an
// iteration costs the same for any n_samples. Not by XX', which would square the condition of X.
#pragma once

#include "layer/program.hpp"
#include "linalg/factor.hpp"

namespace nettrim::layer {

// Must outlive its program(), and what the given one points at must outlive it.
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
  // slopes: where weights are drawn, those of its outputs.
  Matrix<double> lift(const Matrix<double>& dual, const Eigen::VectorXd& slopes) const;
  // A ray that proves that no weights come within epsilon of Y: the part of Y outside X's range.
  Matrix<double> outside_part() const;

 private:
  Eigen::VectorXd slopes_of(const Matrix<double>& dual) const;
  Matrix<double> combined(const Matrix<double>& in_range, const Eigen::VectorXd& share_of_Y) const;

  OrthogonalBasis::Piece given_Y_;
  OrthogonalBasis basis_;
  Matrix<double> coordinates_;  // YQ', outputs x features
  Matrix<double> triangle_;     // of features as far apart as they were given
  Form form_;
  std::shared_ptr<const Matrix<double>> costs_;
  FeatureGroups groups_;
  double ridge_ = 0;
  Matrix<double> original_;  // what it draws to, outputs x features
  Index n_samples_;
  double size_, outside_, level_given_ = 0, level_ = 0;
  bool feasible_ = true;
};

}  // namespace nettrim::layer
