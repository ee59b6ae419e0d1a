// Dense factorisations: the only place that might call LAPACK one day.
#pragma once

#include <functional>
#include <vector>

#include "linalg/parallel.hpp"
#include "linalg/product.hpp"

namespace nettrim {

// Lower triangle of the sum of X X' over the pieces X = piece(range), of `size` rows each.
template <class Piece>
Matrix<double> gram_of(Index size, const std::vector<Range>& ranges, int threads, Piece&& piece) {
  const Matrix<double> zero = Matrix<double>::Zero(size, size);
  return parallel_total(ranges, threads, zero,
                        [&](Range r, Matrix<double>& gram) { add_gram(piece(r), gram); });
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

// The part of x that is orthogonal to all columns, whatever their rank.
Eigen::VectorXd orthogonal_part(const Matrix<double>& columns, const Eigen::VectorXd& x);

// As many columns as span the space of all: pivots below the threshold, over the largest, are zero.
std::vector<Index> independent_columns(const Matrix<double>& columns, double threshold);

// Of a symmetric matrix.
double least_eigenvalue(const Matrix<double>& lower);

}  // namespace nettrim
