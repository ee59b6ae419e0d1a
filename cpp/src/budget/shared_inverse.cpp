#include "budget/shared_inverse.hpp"

#include <cmath>
#include <numeric>
#include <utility>

#include "linalg/inverse.hpp"
#include "linalg/parallel.hpp"

namespace nettrim::budget {
namespace {

// With less, single precision would lose too much of what is left of C's inverse.
constexpr double kLeastPull = 1e-3;

// Multiplications: an inverse, less the parts of its update that a Gram matrix does not take too.
double saved_by_update(Index features, Index rows) {
  const auto n = static_cast<double>(features), k = static_cast<double>(rows);
  return n * n * n - 2 * n * k * k - k * k * k / 3;
}

}  // namespace

template <class S>
SharedInverse<S>::SharedInverse(const BudgetProgram& program, const BudgetGram& gram,
                                Features features, int threads)
    : gram_(gram), pull_(program.pull), features_(std::move(features)) {
  if (!pays(program)) return;
  Matrix<S> inverse = gram.pulled<S>(features_);
  if (!invert<S>(inverse, threads)) return;
  const Matrix<S> whole = inverse.template selfadjointView<Eigen::Lower>();
  images_.resize(whole.rows(), program.samples);
  parallel_over(cut(program.samples, 256, threads), threads, [&](Range r, int) {
    std::vector<Index> samples(static_cast<std::size_t>(r.size));
    std::iota(samples.begin(), samples.end(), r.begin);
    write_product(whole, gram.samples<S>(features_, samples), images_.middleCols(r.begin, r.size));
  });
  inverse_ = std::move(inverse);
}

template <class S>
bool SharedInverse<S>::pays(const BudgetProgram& program) const {
  if (!program.active || pull_ < kLeastPull || pull_ >= 1) return false;
  const auto n = static_cast<Index>(features_.size());
  std::vector<Index> counts(static_cast<std::size_t>(program.outputs), 0);
  for (Index i = 0; i < program.samples * program.outputs; ++i) {
    counts[static_cast<std::size_t>(i % program.outputs)] += program.active[i];
  }
  double saved = -saved_by_update(n, 0) - 2.0 * static_cast<double>(n * n * program.samples);
  for (const Index count : counts) saved += std::max(0.0, saved_by_update(n, count));
  return saved > 0;
}

template <class S>
bool SharedInverse<S>::write(const OutputRows& rows, Matrix<S>& inverse) const {
  if (inverse_.size() == 0 || saved_by_update(inverse_.rows(), rows.count()) <= 0) return false;
  std::vector<Index> counting;
  Eigen::Matrix<S, Eigen::Dynamic, 1> scale(rows.count());
  for (Index i = 0; i < rows.size(); ++i) {
    if (!rows.counts(i)) continue;
    scale[static_cast<Index>(counting.size())] =
        static_cast<S>(std::sqrt(rows.is_active(i) ? 1 - pull_ : 1.0));
    counting.push_back(i);
  }
  inverse = inverse_;
  const Matrix<S> V = gram_.samples<S>(features_, counting) * scale.asDiagonal();
  update_inverse<S>(inverse, V, images_(Eigen::all, counting) * scale.asDiagonal(), 1);
  return (inverse.diagonal().array() > 0).all();
}

template class SharedInverse<float>;
template class SharedInverse<double>;

}  // namespace nettrim::budget
