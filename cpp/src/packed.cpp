#include "packed.hpp"

namespace nettrim {

void PackedSymmetric::grow(const Matrix<double>& fresh) {
  const Index size = size_ + fresh.cols();
  lower_.reserve(static_cast<std::size_t>(size * (size + 1) / 2));
  for (Index k = 0; k < fresh.cols(); ++k) {
    const double* const column = fresh.col(k).data();
    for (Index i = 0; i <= size_ + k; ++i) lower_.push_back(static_cast<float>(column[i]));
  }
  size_ = size;
}

void PackedSymmetric::keep(const std::vector<Index>& chosen) {
  auto out = lower_.begin();
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const float* const entries = row(chosen[i]);
    for (std::size_t j = 0; j <= i; ++j) *out++ = entries[chosen[j]];
  }
  lower_.erase(out, lower_.end());
  lower_.shrink_to_fit();
  size_ = static_cast<Index>(chosen.size());
}

void PackedSymmetric::add_column(Index j, double scale, Eigen::Ref<Eigen::VectorXd> out) const {
  const float* const own = row(j);
  for (Index i = 0; i <= j; ++i) out[i] += scale * static_cast<double>(own[i]);
  for (Index i = j + 1; i < size_; ++i) out[i] += scale * static_cast<double>(row(i)[j]);
}

Eigen::VectorXd PackedSymmetric::operator*(const Eigen::VectorXd& x) const {
  Eigen::VectorXd product(size_);
  double* const out = product.data();
  const double* const in = x.data();
  for (Index i = 0; i < size_; ++i) {
    const float* const entries = row(i);
    const double mine = in[i];
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (Index j = 0; j < i; ++j) {
      const double entry = static_cast<double>(entries[j]);
      sum += entry * in[j];
      out[j] += mine * entry;
    }
    out[i] = sum + static_cast<double>(entries[i]) * mine;
  }
  return product;
}

}  // namespace nettrim
