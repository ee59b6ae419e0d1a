#include "linalg/packed.hpp"

namespace nettrim {

template <class G>
G* PackedRows<G>::add_block(std::size_t entries) {
  blocks_.emplace_back(new G[entries]);
  return blocks_.back().get();
}

template <class G>
void PackedRows<G>::grow(const Matrix<double>& fresh) {
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
void PackedRows<G>::keep(const std::vector<Index>& chosen) {
  PackedRows kept;
  G* out = kept.add_block(bytes(chosen.size()) / sizeof(G));
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const G* const entries = row(chosen[i]);
    kept.rows_.push_back(out);
    for (std::size_t j = 0; j <= i; ++j) *out++ = entries[chosen[j]];
  }
  *this = std::move(kept);
}

template <class G>
void PackedRows<G>::add_column(Index j, double scale, Eigen::Ref<Eigen::VectorXd> out) const {
  const G* const own = row(j);
  for (Index i = 0; i <= j; ++i) out[i] += scale * static_cast<double>(own[i]);
  for (Index i = j + 1; i < size(); ++i) out[i] += scale * static_cast<double>(row(i)[j]);
}

// Several rows at a time: every load of an entry of x and every store of one of the product then
// serves them all.
template <class G>
Eigen::VectorXd PackedRows<G>::operator*(const Eigen::VectorXd& x) const {
  constexpr Index kRows = 4;
  const Index n = size();
  Eigen::VectorXd product = Eigen::VectorXd::Zero(n);
  double* const out = product.data();
  const double* const in = x.data();
  Index i = 0;
  for (; i + kRows <= n; i += kRows) {
    const G *const r0 = row(i), *const r1 = row(i + 1), *const r2 = row(i + 2),
                   *const r3 = row(i + 3);
    const double x0 = in[i], x1 = in[i + 1], x2 = in[i + 2], x3 = in[i + 3];
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
    for (Index j = 0; j < i; ++j) {
      const double a0 = static_cast<double>(r0[j]), a1 = static_cast<double>(r1[j]);
      const double a2 = static_cast<double>(r2[j]), a3 = static_cast<double>(r3[j]);
      const double xj = in[j];
      s0 += a0 * xj;
      s1 += a1 * xj;
      s2 += a2 * xj;
      s3 += a3 * xj;
      out[j] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3;
    }
    const double sums[kRows] = {s0, s1, s2, s3};
    for (Index k = 0; k < kRows; ++k) {
      out[i + k] += sums[k];
      add_corner_row(i + k, i, in, out);
    }
  }
  for (; i < n; ++i) add_corner_row(i, 0, in, out);
  return product;
}

// Row i from column `from` on, and its mirror image.
template <class G>
void PackedRows<G>::add_corner_row(Index i, Index from, const double* in, double* out) const {
  const G* const entries = row(i);
  for (Index j = from; j < i; ++j) {
    const double entry = static_cast<double>(entries[j]);
    out[i] += entry * in[j];
    out[j] += entry * in[i];
  }
  out[i] += static_cast<double>(entries[i]) * in[i];
}

template class PackedRows<float>;
template class PackedRows<double>;

}  // namespace nettrim
