// Dense factorisations: the only place that might call LAPACK one day.
#pragma once

#include <functional>
#include <vector>

#include "linalg/parallel.hpp"
#include "nettrim/types.hpp"

namespace nettrim {

// Inverse of a symmetric positive definite matrix of which the lower triangle is given, by
// Cholesky. For well-conditioned matrices only: multiplying by it runs twice as fast as triangular
// solves.
Matrix<double> inverse_of_definite(const Matrix<double>& lower, int threads);

// Lower triangle of the sum of X X' over the pieces X = piece(range), of `size` rows each.
template <class Piece>
Matrix<double> gram_of(Index size, const std::vector<Range>& ranges, int threads, Piece&& piece) {
  const Matrix<double> zero = Matrix<double>::Zero(size, size);
  return parallel_total(ranges, threads, zero, [&](Range r, Matrix<double>& gram) {
    const auto& X = piece(r);
    gram.selfadjointView<Eigen::Lower>().rankUpdate(X);
  });
}

// X = L Q, with X of features x samples, at least as many samples as features, and Q's rows
// orthonormal. X and Y are asked for in pieces of their columns, X more than once.
class OrthogonalBasis {
 public:
  using Piece = std::function<Matrix<double>(Range)>;

  OrthogonalBasis(Index features, Index samples, const Piece& X, int threads);
  const Matrix<double>& triangle() const { return lower_; }         // L, features x features
  Matrix<double> coordinates(Index outputs, const Piece& Y) const;  // YQ'
  Matrix<double> samples(const Matrix<double>& coordinates) const;  // times Q

 private:
  bool orthonormalise(const Piece& X);
  void reflect(const Piece& X);

  int threads_;
  std::vector<Range> ranges_;
  Matrix<double> lower_;
  Matrix<double> nearly_, rest_;  // Q is rest^-1 nearly, with rest triangular and close to one
};

}  // namespace nettrim
