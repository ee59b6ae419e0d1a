// A symmetric matrix in single precision of which the lower triangle is kept, row after row: it
// grows without moving and takes a quarter of the memory. Arithmetic with it is in double.
#pragma once

#include <vector>

#include "nettrim/types.hpp"

namespace nettrim {

class PackedSymmetric {
 public:
  Index size() const { return size_; }
  double operator()(Index i, Index j) const { return i < j ? row(j)[i] : row(i)[j]; }
  const float* row(Index i) const { return lower_.data() + i * (i + 1) / 2; }  // i + 1 entries

  // Appends rows and columns: column k of `fresh` is that of element size() + k, down to itself.
  void grow(const Matrix<double>& fresh);
  // Keeps these rows and columns, in ascending order.
  void keep(const std::vector<Index>& chosen);
  static std::size_t bytes(std::size_t size) { return size * (size + 1) / 2 * sizeof(float); }
  // out += scale * column j
  void add_column(Index j, double scale, Eigen::Ref<Eigen::VectorXd> out) const;
  Eigen::VectorXd operator*(const Eigen::VectorXd& x) const;

 private:
  Index size_ = 0;
  std::vector<float> lower_;
};

}  // namespace nettrim
