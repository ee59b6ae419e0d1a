#include "packed.hpp"

namespace nettrim {

void PackedSymmetric::grow(const Matrix<double>& fresh) {
  const Index size = size_ + fresh.cols();
  lower_.reserve(static_cast<std::size_t>(size * (size + 1) / 2));
  for (Index k = 0; k < fresh.cols(); ++k) {
    const double* const column = fresh.col(k).data();
    lower_.insert(lower_.end(), column, column + size_ + k + 1);
  }
  size_ = size;
}

void PackedSymmetric::add_column(Index j, double scale, Eigen::Ref<Eigen::VectorXd> out) const {
  const double* const own = row(j);
  for (Index i = 0; i <= j; ++i) out[i] += scale * own[i];
  for (Index i = j + 1; i < size_; ++i) out[i] += scale * row(i)[j];
}

Eigen::VectorXd PackedSymmetric::operator*(const Eigen::VectorXd& x) const {
  Eigen::VectorXd product(size_);
  double* const out = product.data();
  const double* const in = x.data();
  for (Index i = 0; i < size_; ++i) {
    const double* const entries = row(i);
    const double mine = in[i];
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (Index j = 0; j < i; ++j) {
      sum += entries[j] * in[j];
      out[j] += mine * entries[j];
    }
    out[i] = sum + entries[i] * mine;
  }
  return product;
}

}  // namespace nettrim
