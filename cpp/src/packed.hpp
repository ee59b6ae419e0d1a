// A symmetric matrix of which the lower triangle is kept, row after row, so that it grows without
// moving and takes half the memory.
#pragma once

#include <vector>

#include "nettrim/types.hpp"

namespace nettrim {

class PackedSymmetric {
 public:
  Index size() const { return size_; }
  double operator()(Index i, Index j) const { return i < j ? row(j)[i] : row(i)[j]; }
  const double* row(Index i) const { return lower_.data() + i * (i + 1) / 2; }  // i + 1 entries

  // Appends rows and columns: column k of `fresh` is that of element size() + k, down to itself.
  void grow(const Matrix<double>& fresh);
  // out += scale * column j
  void add_column(Index j, double scale, Eigen::Ref<Eigen::VectorXd> out) const;
  Eigen::VectorXd operator*(const Eigen::VectorXd& x) const;

 private:
  Index size_ = 0;
  std::vector<double> lower_;
};

}  // namespace nettrim
