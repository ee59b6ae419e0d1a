#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "budget/stop.hpp"
#include "linalg/cholesky.hpp"
#include "linalg/inverse.hpp"
#include "linalg/product_by.hpp"
#include "units/features.hpp"

namespace nettrim::units {
namespace {

constexpr Index kPanel = 64;  // features removed before the matrices follow

// One form that gives up its units. Outputs count by their inner products alone: beside the inverse
// P of the Gram matrix over the features that are left there is M = U U' of their weights of least
// loss. Without a group of features, with D = P_g L'^-1 and P_gg = L L',
//   P - D D'  and  M - D Q' - Q D',  Q = M_g L'^-1 - D (L^-1 M_gg L'^-1) / 2.
// Both follow a panel of such columns late; the blocks of units on their diagonals at once.
class FormElimination {
 public:
  FormElimination(const UnitsForm& form, Index units, int threads)
      : threads_(threads), features_(form, units) {
    for (Index u = 0; u < units; ++u) places_.push_back(features_.of(u));
    of_none_ = features_.of_none();
    inverse_ = gram_of(form, features_.order());
    invert<double>(inverse_, threads);
    const Matrix<double> whole = inverse_.selfadjointView<Eigen::Lower>();
    Matrix<double> weights = Matrix<double>::Zero(form.features, form.outputs);
    add_product_by(threads, whole, correlations_of(form, features_.order()), weights, 1.0);
    squares_ = Matrix<double>::Zero(form.features, form.features);
    const Matrix<double> transposed = weights.transpose();
    add_lower_product_by(threads, weights, transposed, squares_, 1.0);
    D_.resize(form.features, kPanel + features_.most());
    Q_.resize(form.features, kPanel + features_.most());
    begin_diagonals();
  }

  // Adds what the loss grows by without each of some units.
  void add_costs(const std::vector<Index>& units, Eigen::VectorXd& costs) const {
    const int threads = features_.most() == 1 ? 1 : threads_;
    parallel_for(costs.size(), threads, [&](Index k, int) {
      const Range r = place(units[static_cast<std::size_t>(k)]);
      if (r.size == 0) return;
      if (r.size == 1) {
        costs[k] += std::max(own_squares_(0, r.begin), 0.0) / (2 * own_inverse_(0, r.begin));
        return;
      }
      Matrix<double> P = own_inverse_.block(0, r.begin, r.size, r.size);
      Matrix<double> M = own_squares_.block(0, r.begin, r.size, r.size);
      costs[k] += std::max(half_of_trace(P, M), 0.0);
    });
  }

  void remove(Index unit, const std::vector<Index>& left) {
    const Range r = place(unit);
    if (r.size == 0) return;
    const auto before_D = D_.leftCols(count_), before_Q = Q_.leftCols(count_);
    const auto rows_D = before_D.middleRows(r.begin, r.size).transpose();
    const auto rows_Q = before_Q.middleRows(r.begin, r.size).transpose();
    auto D = D_.middleCols(count_, r.size), Q = Q_.middleCols(count_, r.size);
    D = columns(inverse_, r);
    Q = columns(squares_, r);
    add_product(before_D, rows_D, D, -1);
    add_product(before_D, rows_Q, Q, -1);
    add_product(before_Q, rows_D, Q, -1);
    Matrix<double> L = D.middleRows(r.begin, r.size);
    cholesky(L);
    solve_from_right(L, D);
    solve_from_right(L, Q);
    Matrix<double> inner = Q.middleRows(r.begin, r.size);
    solve_from_left(L, inner);
    add_product(D, inner, Q, -0.5);
    follow(left, D, Q);
    count_ += r.size;
    removed_.push_back(unit);
    if (count_ >= kPanel) settle();
  }

 private:
  Range place(Index unit) const { return places_[static_cast<std::size_t>(unit)]; }

  // Of a symmetric matrix that is kept by its lower triangle.
  static Matrix<double> columns(const Matrix<double>& lower, Range r) {
    Matrix<double> result(lower.rows(), r.size);
    const Index end = r.begin + r.size;
    result.topRows(r.begin) = lower.block(r.begin, 0, r.size, r.begin).transpose();
    result.middleRows(r.begin, r.size) =
        lower.block(r.begin, r.begin, r.size, r.size).selfadjointView<Eigen::Lower>();
    result.bottomRows(lower.rows() - end) = lower.block(end, r.begin, lower.rows() - end, r.size);
    return result;
  }

  // Blocks on the diagonals, side by side.
  void begin_diagonals() {
    own_inverse_ = Matrix<double>::Zero(features_.most(), inverse_.cols());
    own_squares_ = own_inverse_;
    for (const Range r : places_) {
      for (auto [from, to] : {std::pair(&inverse_, &own_inverse_), {&squares_, &own_squares_}}) {
        to->block(0, r.begin, r.size, r.size) = from->block(r.begin, r.begin, r.size, r.size);
      }
    }
  }

  template <class Columns>
  void follow(const std::vector<Index>& left, const Columns& D, const Columns& Q) {
    if (features_.most() == 1) {
      own_inverse_.row(0) -= D.col(0).cwiseAbs2().transpose();
      own_squares_.row(0) -= 2 * D.col(0).cwiseProduct(Q.col(0)).transpose();
      own_inverse_ = own_inverse_.cwiseMax(std::numeric_limits<double>::min());
      return;
    }
    parallel_for(static_cast<Index>(left.size()), threads_, [&](Index k, int) {
      const Range r = place(left[static_cast<std::size_t>(k)]);
      if (r.size == 0) return;
      const auto d = D.middleRows(r.begin, r.size), q = Q.middleRows(r.begin, r.size);
      add_product(d, d.transpose(), own_inverse_.block(0, r.begin, r.size, r.size), -1);
      add_product(d, q.transpose(), own_squares_.block(0, r.begin, r.size, r.size), -1);
      add_product(q, d.transpose(), own_squares_.block(0, r.begin, r.size, r.size), -1);
    });
  }

  // The matrices follow all removals of the panel, and lose the rows of what is gone.
  void settle() {
    const std::vector<Index> rows = close_ranks();
    const auto shrink = [&](Matrix<double>& lower) {
      const auto n = static_cast<Index>(rows.size());
      Matrix<double> smaller(n, n);
      parallel_over(cut(n, kProductColumns, threads_), threads_, [&](Range r, int) {
        for (Index b = r.begin; b < r.begin + r.size; ++b) {
          const auto from = lower.col(rows[static_cast<std::size_t>(b)]);
          for (Index a = b; a < n; ++a) smaller(a, b) = from[rows[static_cast<std::size_t>(a)]];
        }
      });
      lower = std::move(smaller);
    };
    shrink(inverse_);
    shrink(squares_);
    const Matrix<double> D = D_.leftCols(count_)(rows, Eigen::all);
    const Matrix<double> Q = Q_.leftCols(count_)(rows, Eigen::all);
    add_lower_product_by(threads_, D, D.transpose(), inverse_, -1.0);
    add_lower_product_by(threads_, D, Q.transpose(), squares_, -1.0);
    add_lower_product_by(threads_, Q, D.transpose(), squares_, -1.0);
    own_inverse_ = Matrix<double>(own_inverse_(Eigen::all, rows));
    own_squares_ = Matrix<double>(own_squares_(Eigen::all, rows));
    D_.resize(inverse_.rows(), D_.cols());
    Q_.resize(inverse_.rows(), Q_.cols());
    count_ = 0;
  }

  // Gives the features that are left places side by side; returns those they had.
  std::vector<Index> close_ranks() {
    for (const Index unit : removed_) places_[static_cast<std::size_t>(unit)].size = 0;
    removed_.clear();
    std::vector<Index> rows;
    const auto move = [&](Range& r) {
      const auto begin = static_cast<Index>(rows.size());
      for (Index i = r.begin; i < r.begin + r.size; ++i) rows.push_back(i);
      r.begin = begin;
    };
    std::for_each(places_.begin(), places_.end(), move);
    move(of_none_);
    return rows;
  }

  int threads_;
  UnitFeatures features_;
  std::vector<Range> places_;
  Range of_none_;
  Matrix<double> inverse_, squares_;          // P and M, lower triangles
  Matrix<double> own_inverse_, own_squares_;  // a unit's block begins in its first column
  Matrix<double> D_, Q_;                      // the panel
  Index count_ = 0;                           // columns of it that are filled
  std::vector<Index> removed_;                // units, since the matrices followed
};

std::vector<Index> free_units(const UnitsProgram& program) {
  std::vector<Index> units;
  for (Index u = 0; u < program.units; ++u) {
    if (!program.keep || !program.keep[u]) units.push_back(u);
  }
  return units;
}

void note(Index unit, double loss, UnitsElimination& result) {
  result.order.push_back(static_cast<int>(unit));
  result.losses.push_back(loss);
}

// All that are left at once, by what they cost now.
void remove_rest(const std::vector<Index>& left, const Eigen::VectorXd& costs,
                 UnitsElimination& result) {
  std::vector<Index> turns(left.size());
  std::iota(turns.begin(), turns.end(), Index{0});
  std::stable_sort(turns.begin(), turns.end(),
                   [&](Index a, Index b) { return costs[a] < costs[b]; });
  for (const Index k : turns) note(left[static_cast<std::size_t>(k)], costs[k], result);
}

}  // namespace
}  // namespace nettrim::units

namespace nettrim {

UnitsElimination eliminate_units(const UnitsProgram& program, const BudgetOptions& options) {
  using namespace units;
  budget::StopFlag stop(options);
  std::vector<FormElimination> forms;
  for (const UnitsForm& form : program.forms) {
    forms.emplace_back(form, program.units, options.n_threads);
  }
  UnitsElimination result;
  std::vector<Index> left = free_units(program);
  while (!left.empty() && !stop.poll(0)) {
    Eigen::VectorXd costs = Eigen::VectorXd::Zero(static_cast<Index>(left.size()));
    for (const FormElimination& form : forms) form.add_costs(left, costs);
    if (stop.is_late()) {
      remove_rest(left, costs, result);
      break;
    }
    Index k = 0;
    const double loss = costs.minCoeff(&k);
    const Index unit = left[static_cast<std::size_t>(k)];
    note(unit, loss, result);
    left.erase(left.begin() + k);
    for (FormElimination& form : forms) form.remove(unit, left);
  }
  result.complete = !stop.is_set();
  return result;
}

}  // namespace nettrim
