// A symmetric matrix of which the lower triangle is kept, in blocks of rows: it grows without
// moving, and in single precision takes a quarter of the memory. Arithmetic with it is in double.
#pragma once

#include <memory>
#include <vector>

#include "nettrim/types.hpp"

namespace nettrim {

template <class G>
class PackedSymmetric {
 public:
  Index size() const { return static_cast<Index>(rows_.size()); }
  double operator()(Index i, Index j) const {
    return static_cast<double>(i < j ? row(j)[i] : row(i)[j]);
  }
  const G* row(Index i) const { return rows_[static_cast<std::size_t>(i)]; }  // i + 1 entries
  static std::size_t bytes(std::size_t size) { return size * (size + 1) / 2 * sizeof(G); }

  // Appends rows and columns: column k of `fresh` is that of element size() + k, down to itself.
  void grow(const Matrix<double>& fresh);
  // Keeps these rows and columns, in ascending order.
  void keep(const std::vector<Index>& chosen);
  // out += scale * column j
  void add_column(Index j, double scale, Eigen::Ref<Eigen::VectorXd> out) const;
  Eigen::VectorXd operator*(const Eigen::VectorXd& x) const;

 private:
  G* add_block(std::size_t entries);
  void add_corner_row(Index i, Index from, const double* in, double* out) const;

  std::vector<std::unique_ptr<G[]>> blocks_;
  std::vector<const G*> rows_;
};

}  // namespace nettrim
