#include "packed.hpp"

namespace nettrim {

template <class G>
G* PackedSymmetric<G>::add_block(std::size_t entries) {
  blocks_.emplace_back(new G[entries]);
  return blocks_.back().get();
}

template <class G>
void PackedSymmetric<G>::grow(const Matrix<double>& fresh) {
  const Index known = size();
  const auto before = static_cast<std::size_t>(known);
  const auto after = static_cast<std::size_t>(known + fresh.cols());
  G* out = add_block((bytes(after) - bytes(before)) / sizeof(G));
  for (Index k = 0; k < fresh.cols(); ++k) {
    rows_.push_back(out);
    for (Index i = 0; i <= known + k; ++i) *out++ = static_cast<G>(fresh(i, k));
  }
}

template <class G>
void PackedSymmetric<G>::keep(const std::vector<Index>& chosen) {
  PackedSymmetric kept;
  G* out = kept.add_block(bytes(chosen.size()) / sizeof(G));
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const G* const entries = row(chosen[i]);
    kept.rows_.push_back(out);
    for (std::size_t j = 0; j <= i; ++j) *out++ = entries[chosen[j]];
  }
  *this = std::move(kept);
}

template <class G>
void PackedSymmetric<G>::add_column(Index j, double scale, Eigen::Ref<Eigen::VectorXd> out) const {
  const G* const own = row(j);
  for (Index i = 0; i <= j; ++i) out[i] += scale * static_cast<double>(own[i]);
  for (Index i = j + 1; i < size(); ++i) out[i] += scale * static_cast<double>(row(i)[j]);
}

template <class G>
Eigen::VectorXd PackedSymmetric<G>::operator*(const Eigen::VectorXd& x) const {
  const Index n = size();
  Eigen::VectorXd product(n);
  double* const out = product.data();
  const double* const in = x.data();
  for (Index i = 0; i < n; ++i) {
    const G* const entries = row(i);
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

template class PackedSymmetric<float>;
template class PackedSymmetric<double>;

}  // namespace nettrim
