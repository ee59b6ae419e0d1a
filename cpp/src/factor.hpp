// Dense factorisations: the only place that might call LAPACK one day.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "nettrim/types.hpp"
#include "parallel.hpp"

namespace nettrim {

// Inverse of a symmetric positive definite matrix of which the lower triangle is given, by
// Cholesky. For well-conditioned matrices only: multiplying by it runs twice as fast as triangular
// solves.
Matrix<double> inverse_of_definite(const Matrix<double>& lower, int threads);

// Lower triangle of the sum of X X' over the pieces X = piece(range), of `size` rows each.
template <class Piece>
Matrix<double> gram_of(Index size, const std::vector<Range>& ranges, int threads, Piece&& piece) {
  std::vector<Matrix<double>> parts(static_cast<std::size_t>(threads),
                                    Matrix<double>::Zero(size, size));
  parallel_for(static_cast<Index>(ranges.size()), threads, [&](Index k, int thread) {
    const auto& X = piece(ranges[static_cast<std::size_t>(k)]);
    parts[static_cast<std::size_t>(thread)].selfadjointView<Eigen::Lower>().rankUpdate(X);
  });
  for (std::size_t t = 1; t < parts.size(); ++t) parts[0] += parts[t];
  return std::move(parts[0]);
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
  template <class Body>
  void over_pieces(Body&& body) const;

  int threads_;
  std::vector<Range> ranges_;
  Matrix<double> lower_;
  Matrix<double> nearly_, rest_;  // Q is rest^-1 nearly, with rest triangular and close to one
};

}  // namespace nettrim
