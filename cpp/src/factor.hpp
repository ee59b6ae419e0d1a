// Dense factorisations: the only place that might call LAPACK one day.
#pragma once

#include "nettrim/types.hpp"

namespace nettrim {

// Inverse of a symmetric positive definite matrix of which the lower triangle is given, by
// Cholesky. For well-conditioned matrices only: multiplying by it runs twice as fast as triangular
// solves.
Matrix<double> inverse_of_definite(const Matrix<double>& lower, int threads);

// Least squares in orthogonal coordinates: X = Q [R; 0], with X of n_samples x n_features and at
// least as many samples as features.
class OrthogonalBasis {
 public:
  explicit OrthogonalBasis(Matrix<double> X);
  Matrix<double> triangle() const;                           // R, features x features
  Matrix<double> coordinates(Matrix<double> samples) const;  // Q' samples
  Matrix<double> samples(Matrix<double> coordinates) const;  // Q coordinates

 private:
  Matrix<double> packed_;  // R above the diagonal, Householder vectors below
  Eigen::VectorXd coefficients_;
};

}  // namespace nettrim
