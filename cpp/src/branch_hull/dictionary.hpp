// A dictionary at unit scale, and least squares on it.
#pragma once

#include "nettrim/branch_hull.hpp"

namespace nettrim::branch_hull {

using Vector = Eigen::VectorXd;

// Its largest row has norm 1; where it is known by products, to what random signs tell of it.
class Dictionary {
 public:
  Dictionary(const HullDictionary& given, Index rows, Index size);

  Index rows() const { return rows_; }
  Index size() const { return size_; }
  double scale() const { return scale_; }              // the caller's over this one
  double mean_square() const { return mean_square_; }  // of the norms of its columns

  Vector signal(const Vector& coefficients) const;
  Vector correlations(const Vector& signal) const;  // of the columns with a signal

  bool is_dense() const { return !products_.signal; }
  // size x rows: a column is a row of the caller's. Only if it is dense.
  const Matrix<double>& entries() const { return entries_; }

 private:
  void measure(const HullDictionary& given);

  Index rows_, size_;
  double scale_ = 1, mean_square_ = 0;
  Matrix<double> entries_;
  HullDictionary products_;
};

// x of (share A A' + ridge) x = right, A being the entries: by a factor of the smaller Gram
// matrix, or by conjugate gradients, which take one step for an orthogonal dictionary.
class RidgeSolver {
 public:
  RidgeSolver(const Dictionary& dictionary, double share)
      : dictionary_(dictionary), share_(share) {}

  void set_ridge(double ridge);
  Vector solve(const Vector& right, const Vector& guess) const;

 private:
  void factor();
  Vector by_conjugate_gradients(const Vector& right, const Vector& guess) const;

  const Dictionary& dictionary_;
  double share_, ridge_ = -1;
  Matrix<double> factor_;
};

}  // namespace nettrim::branch_hull
