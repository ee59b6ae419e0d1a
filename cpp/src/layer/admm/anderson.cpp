#include "layer/admm/anderson.hpp"

#include <algorithm>
#include <cmath>

#include "linalg/cholesky.hpp"

namespace nettrim::layer {
namespace {

constexpr double kStrayed = 4;             // squared length of a step over that of the last
constexpr Index kPiece = 4096;             // entries that are worked on together
constexpr double kRegularisation = 1e-10;  // of the least-squares problem, over its trace

template <class S>
using Flat = Eigen::Map<Eigen::Vector<S, Eigen::Dynamic>>;

template <class S>
Flat<S> part_of(Matrix<S>& matrix, Range r) {
  return Flat<S>(matrix.data() + r.begin, r.size);
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
  keep(before, state);
  const auto order = in_order();
  if (mixed_ && kept_ > 1 && square(order[0]) > kStrayed * square(order[1])) {
    state = step(order[1]).end;
    forget();
    mixed_ = false;
    return;
  }
  mixed_ = kept_ > 1;
  if (mixed_) combine(shares(), state);
}

// The step, and its products with those before, piece by piece.
template <class S>
void Anderson<S>::keep(const Pair<S>& before, const Pair<S>& state) {
  Step& mine = step(latest_);
  mine.end = state;
  mine.difference.signal.resize(state.signal.rows(), state.signal.cols());
  mine.difference.weights.resize(state.weights.rows(), state.weights.cols());
  const auto columns = [&](Index count) {
    return cut(count, std::max<Index>(kPiece / p_.n_outputs(), 1), p_.threads);
  };
  const auto none = Eigen::VectorXd::Zero(kept_).eval();
  Eigen::VectorXd sums =
      parallel_total(columns(p_.n_samples()), p_.threads, none, [&](Range r, auto& sum) {
        sum += products(
            &Pair<float>::signal, r,
            state.signal.middleCols(r.begin, r.size) - before.signal.middleCols(r.begin, r.size));
      });
  sums += parallel_total(columns(p_.n_features()), p_.threads, none, [&](Range r, auto& sum) {
    sum += products(
        &Pair<float>::weights, r,
        (state.weights.middleCols(r.begin, r.size) - before.weights.middleCols(r.begin, r.size)) *
            root_metric_.segment(r.begin, r.size).asDiagonal());
  });
  const auto order = in_order();
  for (Index k = 0; k < kept_; ++k) {
    const Index other = order[static_cast<std::size_t>(k)];
    products_(other, latest_) = products_(latest_, other) = sums[k];
  }
}

// Of some columns of the latest difference, which are written, with those of all that are kept.
template <class S>
template <class Difference>
Eigen::VectorXd Anderson<S>::products(Matrix<float> Pair<float>::* member, Range columns,
                                      const Difference& difference) {
  auto mine = (step(latest_).difference.*member).middleCols(columns.begin, columns.size);
  mine = difference.template cast<float>();
  Eigen::VectorXd sums(kept_);
  const auto order = in_order();
  for (Index k = 0; k < kept_; ++k) {
    const auto& other = step(order[static_cast<std::size_t>(k)]).difference.*member;
    sums[k] =
        static_cast<double>(mine.cwiseProduct(other.middleCols(columns.begin, columns.size)).sum());
  }
  return sums;
}

template <class S>
void Anderson<S>::combine(const Eigen::VectorXd& shares, Pair<S>& state) {
  const auto order = in_order();
  const auto sum = [&](Matrix<S> Pair<S>::* member) {
    Matrix<S>& out = state.*member;
    parallel_over(cut(out.size(), kPiece, p_.threads), p_.threads, [&](Range r, int) {
      auto part = part_of(out, r);
      part *= static_cast<S>(shares[0]);
      for (std::size_t k = 1; k < order.size(); ++k) {
        part +=
            static_cast<S>(shares[static_cast<Index>(k)]) * part_of(step(order[k]).end.*member, r);
      }
    });
  };
  sum(&Pair<S>::signal);
  sum(&Pair<S>::weights);
}

// Kept steps, the latest first.
template <class S>
std::vector<Index> Anderson<S>::in_order() const {
  std::vector<Index> order;
  for (Index k = 0; k < kept_; ++k) order.push_back((latest_ - k + kMemory + 1) % (kMemory + 1));
  return order;
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
