#include "packed.hpp"

namespace nettrim {

float* PackedSymmetric::add_block(std::size_t entries) {
  blocks_.emplace_back(new float[entries]);
  return blocks_.back().get();
}

void PackedSymmetric::grow(const Matrix<double>& fresh) {
  const Index known = size();
  const auto before = static_cast<std::size_t>(known);
  const auto after = static_cast<std::size_t>(known + fresh.cols());
  float* out = add_block((bytes(after) - bytes(before)) / sizeof(float));
  for (Index k = 0; k < fresh.cols(); ++k) {
    rows_.push_back(out);
    for (Index i = 0; i <= known + k; ++i) *out++ = static_cast<float>(fresh(i, k));
  }
}

void PackedSymmetric::keep(const std::vector<Index>& chosen) {
  PackedSymmetric kept;
  float* out = kept.add_block(bytes(chosen.size()) / sizeof(float));
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const float* const entries = row(chosen[i]);
    kept.rows_.push_back(out);
    for (std::size_t j = 0; j <= i; ++j) *out++ = entries[chosen[j]];
  }
  *this = std::move(kept);
}

void PackedSymmetric::add_column(Index j, double scale, Eigen::Ref<Eigen::VectorXd> out) const {
  const float* const own = row(j);
  for (Index i = 0; i <= j; ++i) out[i] += scale * static_cast<double>(own[i]);
  for (Index i = j + 1; i < size(); ++i) out[i] += scale * static_cast<double>(row(i)[j]);
}

Eigen::VectorXd PackedSymmetric::operator*(const Eigen::VectorXd& x) const {
  const Index n = size();
  Eigen::VectorXd product(n);
  double* const out = product.data();
  const double* const in = x.data();
  for (Index i = 0; i < n; ++i) {
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
