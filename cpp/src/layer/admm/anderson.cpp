#include "layer/admm/anderson.hpp"

#include <algorithm>
#include <cmath>

#include "linalg/cholesky.hpp"

namespace nettrim::layer {
namespace {

constexpr double kStrayed = 4;             // squared length of a step over that of the last
constexpr double kRegularisation = 1e-10;  // of the least-squares problem, over its trace

template <class S>
double dot(const Matrix<S>& a, const Matrix<S>& b, int threads) {
  const auto pieces = cut(a.size(), 1 << 14, threads);
  return parallel_sum(static_cast<Index>(pieces.size()), threads, [&](Index k) {
    const Range r = pieces[static_cast<std::size_t>(k)];
    const Eigen::Map<const Eigen::Vector<S, Eigen::Dynamic>> x(a.data() + r.begin, r.size);
    const Eigen::Map<const Eigen::Vector<S, Eigen::Dynamic>> y(b.data() + r.begin, r.size);
    return static_cast<double>(x.dot(y));
  });
}

}  // namespace

template <class S>
Anderson<S>::Anderson(const UnitProgram<S>& program, const Eigen::VectorXd& root_metric)
    : p_(program),
      root_metric_(root_metric.cast<S>()),
      steps_(static_cast<std::size_t>(kMemory + 1)),
      products_(kMemory + 1, kMemory + 1) {}

template <class S>
void Anderson<S>::mix(const Pair<S>& before, Pair<S>& state) {
  latest_ = (latest_ + 1) % (kMemory + 1);
  kept_ = std::min(kept_ + 1, kMemory + 1);
  latest().end = state;
  latest().difference.signal = state.signal - before.signal;
  latest().difference.weights = (state.weights - before.weights) * root_metric_.asDiagonal();
  measure_latest();
  const auto order = in_order();
  if (mixed_ && order.size() > 1 &&
      products_(latest_, latest_) > kStrayed * products_(order[1], order[1])) {
    state = steps_[static_cast<std::size_t>(order[1])].end;
    forget();
    mixed_ = false;
    return;
  }
  const Eigen::VectorXd share = shares();
  mixed_ = kept_ > 1;
  if (!mixed_) return;
  const auto pieces = [&](auto member) {
    auto& out = state.*member;
    const auto ranges = cut(out.size(), 1 << 12, p_.threads);
    parallel_over(ranges, p_.threads, [&](Range r, int) {
      using Part = Eigen::Map<Eigen::Vector<S, Eigen::Dynamic>>;
      Part sum(out.data() + r.begin, r.size);
      sum *= static_cast<S>(share[0]);
      for (std::size_t k = 1; k < order.size(); ++k) {
        auto& end = steps_[static_cast<std::size_t>(order[k])].end.*member;
        sum += static_cast<S>(share[static_cast<Index>(k)]) * Part(end.data() + r.begin, r.size);
      }
    });
  };
  pieces(&Pair<S>::signal);
  pieces(&Pair<S>::weights);
}

// Kept steps, the latest first.
template <class S>
std::vector<Index> Anderson<S>::in_order() const {
  std::vector<Index> order;
  for (Index k = 0; k < kept_; ++k) order.push_back((latest_ - k + kMemory + 1) % (kMemory + 1));
  return order;
}

template <class S>
void Anderson<S>::measure_latest() {
  const auto& mine = latest().difference;
  for (const Index k : in_order()) {
    const auto& other = steps_[static_cast<std::size_t>(k)].difference;
    products_(k, latest_) = products_(latest_, k) =
        dot(mine.signal, other.signal, p_.threads) + dot(mine.weights, other.weights, p_.threads);
  }
}

// Of the kept steps in their order, one in all: that of least combined length.
template <class S>
Eigen::VectorXd Anderson<S>::shares() const {
  const auto order = in_order();
  const auto n = static_cast<Index>(order.size()) - 1;
  Eigen::VectorXd shares = Eigen::VectorXd::Zero(n + 1);
  shares[0] = 1;
  if (n == 0) return shares;
  const Matrix<double> all = products_(order, order);
  // Differences from the latest step.
  Matrix<double> gram(n, n);
  Eigen::VectorXd right(n);
  for (Index i = 0; i < n; ++i) {
    right[i] = all(0, 0) - all(i + 1, 0);
    for (Index j = 0; j < n; ++j) {
      gram(i, j) = all(0, 0) - all(i + 1, 0) - all(0, j + 1) + all(i + 1, j + 1);
    }
  }
  gram.diagonal().array() += kRegularisation * gram.trace();
  if (!cholesky(gram)) return shares;
  shares.tail(n) = solve_factored(gram, right);
  if (!shares.allFinite()) return Eigen::VectorXd::Unit(n + 1, 0);
  shares[0] = 1 - shares.tail(n).sum();
  return shares;
}

template class Anderson<float>;
template class Anderson<double>;

}  // namespace nettrim::layer
