#include "layer/newton/column.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "linalg/product.hpp"

namespace nettrim::layer {
namespace {

// Exchanges of one guess, and how many of them may fail to reduce the number of wrong elements.
constexpr Index kMostExchanges = 30;
constexpr Index kGrace = 6;
constexpr double kShorter = 0.5;     // share of the wrong elements to exchange, over that before
constexpr int kMostCorrections = 3;  // of a guess's answer, beside the first
constexpr int kProximalUpdates = 3, kFirmProximalUpdates = 50;
constexpr double kMostRhoFactor = 1e5;
constexpr double kRounding = 1e-15;  // of a gradient, over the norm of what it is the gradient of
constexpr double kSpoilt = 1e-3;     // share of an error that rounding leaves in a spoilt answer

void append_zeros(Eigen::VectorXd& vector, Index count) {
  vector.conservativeResize(vector.size() + count);
  vector.tail(count).setZero();
}

// Of entries those at these places, in ascending order.
template <class T>
void keep(const std::vector<Index>& places, std::vector<T>& entries) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    entries[i] = entries[static_cast<std::size_t>(places[i])];
  }
  entries.resize(places.size());
}

void keep(const std::vector<Index>& places, Eigen::VectorXd& entries) {
  entries = Eigen::VectorXd(entries(places));
}

}  // namespace

void Column::add_features(const std::vector<Index>& features, const Vector& costs) {
  features_.insert(features_.end(), features.begin(), features.end());
  costs_.conservativeResize(static_cast<Index>(features_.size()));
  costs_.tail(costs.size()) = costs;
  append_zeros(weights_, static_cast<Index>(features.size()));
  append_zeros(weight_slope_, static_cast<Index>(features.size()));
  guess_.sign.resize(features_.size(), 0);
}

void Column::keep_features(const std::vector<Index>& places) {
  const auto known = std::lower_bound(places.begin(), places.end(), gram_.size());
  gram_.keep({places.begin(), known});
  keep(places, features_);
  keep(places, guess_.sign);
  for (Vector* entries : {&costs_, &weights_, &weight_slope_}) keep(places, *entries);
}

void Column::add_rows(const std::vector<Index>& rows, const Vector& bounds) {
  rows_.insert(rows_.end(), rows.begin(), rows.end());
  bounds_.conservativeResize(static_cast<Index>(rows_.size()));
  bounds_.tail(bounds.size()) = bounds;
  append_zeros(multipliers_, bounds.size());
  append_zeros(multiplier_slope_, bounds.size());
  guess_.tight.resize(rows_.size(), 0);
  slack_.resize(0);
}

void Column::keep_slack_rows(Index most) {
  const auto m = static_cast<Index>(rows_.size());
  if (slack_.size() != m) return;
  std::vector<Index> slack;
  for (Index k = 0; k < m; ++k) {
    if (guess_.tight[static_cast<std::size_t>(k)] == 0 && multipliers_[k] == 0) slack.push_back(k);
  }
  if (static_cast<Index>(slack.size()) <= most) return;
  std::stable_sort(slack.begin(), slack.end(),
                   [&](Index a, Index b) { return slack_[a] > slack_[b]; });
  std::vector<std::uint8_t> leaves(rows_.size(), 0);
  for (auto k = slack.begin() + most; k != slack.end(); ++k) {
    leaves[static_cast<std::size_t>(*k)] = 1;
  }
  std::vector<Index> places;
  for (Index k = 0; k < m; ++k) {
    if (leaves[static_cast<std::size_t>(k)] == 0) places.push_back(k);
  }
  keep(places, rows_);
  keep(places, guess_.tight);
  for (Vector* entries : {&bounds_, &multipliers_, &multiplier_slope_}) keep(places, *entries);
  slack_.resize(0);
}

void Column::start(const Vector& weights, const Vector& multipliers) {
  weights_ = weights;
  multipliers_ = multipliers;
  for (std::size_t i = 0; i < features_.size(); ++i) {
    const double w = weights_[static_cast<Index>(i)];
    guess_.sign[i] = static_cast<std::int8_t>((w > 0) - (w < 0));
  }
  for (std::size_t k = 0; k < rows_.size(); ++k) {
    guess_.tight[k] = multipliers_[static_cast<Index>(k)] > 0;
  }
  support_size_ = count_nonzeros(guess_.sign);
  tight_size_ = count_nonzeros(guess_.tight);
}

void Column::refer(const Vector& gradient, double squared_residual, const ColumnWorkspace& work) {
  reference_ = weights_;
  squared_residual_there_ = squared_residual_ = squared_residual;
  noise_ = kRounding * (std::sqrt(squared_residual) + multipliers_.lpNorm<1>());
  gradient_there_ = full_gradient_there_ = gradient;
  slack_there_.resize(0);
  if (!rows_.empty()) {
    add_product(work.values, multipliers_, gradient_there_, -1);
    slack_there_ = -bounds_;
    add_product(work.values.transpose(), weights_, slack_there_);
    if (!at_rest_) forget_multipliers();
  }
  multipliers_there_ = multipliers_;
  weight_center_ = weights_;
  multiplier_center_ = multipliers_;
}

// Where few working features cannot satisfy the working rows, multipliers run away. With more of
// them they would have to come back, but what they have to be is lost in the rounding of what they
// are, and along directions that move no gradient nothing draws them back.
void Column::forget_multipliers() {
  multipliers_.setZero();
  full_gradient_there_ = gradient_there_;
  measured_ = false;
}

bool Column::is_optimal(double lambda, const ColumnTolerances& t) const {
  if (!measured_) return false;
  for (Index i = 0; i < weights_.size(); ++i) {
    const int sign = guess_.sign[static_cast<std::size_t>(i)];
    const double gradient = full_gradient_there_[i];
    if (sign != 0 && weights_[i] == 0) return false;  // it was cut off on the way here
    const double error = sign == 0 ? std::abs(gradient) - due(i, lambda)
                                   : std::abs(gradient + sign * due(i, lambda));
    if (error > allowed(i, lambda, t)) return false;
  }
  for (Index k = 0; k < multipliers_.size(); ++k) {
    const double error = multipliers_[k] > 0 ? std::abs(slack_there_[k]) : slack_there_[k];
    if (error > t.row) return false;
  }
  return true;
}

void Column::follow(double lambda_change, double least_weight) {
  if (!measured_) return;
  lambda_ += lambda_change;
  for (Index i = 0; i < weights_.size(); ++i) {
    const int sign = guess_.sign[static_cast<std::size_t>(i)];
    weights_[i] += lambda_change * weight_slope_[i];
    if (sign * weights_[i] < least_weight) weights_[i] = 0;
  }
  multipliers_ = (multipliers_ + lambda_change * multiplier_slope_).cwiseMax(0.0);
}

void Column::solve(double lambda, const ColumnTolerances& t, ColumnWorkspace& work) {
  const double largest_cost = costs_.size() > 0 ? lambda * costs_.maxCoeff() : 0;
  rho_ = kRho * std::clamp(largest_cost, 1.0, kMostRhoFactor);  // multipliers are as large
  work.order.clear();
  at_rest_ = (settle(lambda, t, kProximalUpdates, work) || settle_firmly(lambda, t, work)) &&
             row_error() <= t.row;
  lambda_ = lambda;
  measure(work);
}

// Exchanges of many at a time are quick, but may go in circles; a path does not. Then the centers
// of the proximal terms follow.
bool Column::settle(double lambda, const ColumnTolerances& t, int updates, ColumnWorkspace& work) {
  const Guess before = guess_;
  bool solved = exchange_until_right(lambda, t, work);
  if (!solved) {
    follow_path(lambda, work);
    solved = exchange_until_right(lambda, t, work);
  }
  if (!solved) {
    guess_ = before;
    return false;
  }
  for (int update = 1; update < updates && solved && move_proximal_centers(lambda, t); ++update) {
    solved = exchange_until_right(lambda, t, work);
  }
  return true;
}

// A column with few active samples is nearly a linear program, most of whose guesses are singular
// but for the proximal weight: with a firm one it is solved in steps (proximal points: Rockafellar,
// 1976).
bool Column::settle_firmly(double lambda, const ColumnTolerances& t, ColumnWorkspace& work) {
  const double before = proximal_weight_;
  bool solved = false;
  while (!solved && raise_proximal_weight(t.proximal_weight, work)) {
    solved = settle(lambda, t, kFirmProximalUpdates, work);
  }
  proximal_weight_ = before;
  work.order.clear();
  return solved;
}

// Whether they moved by more than the tolerances.
bool Column::move_proximal_centers(double lambda, const ColumnTolerances& t) {
  bool shifted = false;
  for (Index i = 0; i < weights_.size(); ++i) {
    const double shift = proximal_weight_ * std::abs(weights_[i] - weight_center_[i]);
    shifted = shifted || shift > allowed(i, lambda, t);
  }
  shifted = shifted || row_error() > t.row;
  weight_center_ = weights_;
  multiplier_center_ = multipliers_;
  return shifted;
}

// What the proximal terms leave of tight rows, or keep slack ones away by.
double Column::row_error() const {
  return (multipliers_ - multiplier_center_).lpNorm<Eigen::Infinity>() / rho_;
}

// Leaves weights and multipliers alone unless it succeeds. Where exchanges of all that is wrong
// leave as much of it, fewer are exchanged at a time.
bool Column::exchange_until_right(double lambda, const ColumnTolerances& t, ColumnWorkspace& work) {
  std::size_t fewest = std::numeric_limits<std::size_t>::max();
  Index grace = kGrace;
  double share = 1;
  for (Index round = 0; round < kMostExchanges; ++round) {
    if (!synchronise(work)) return false;
    solve_guess(lambda, t, work);
    if (!is_accurate(lambda, t) &&
        raise_proximal_weight(most_proximal_weight(gram_.precision()), work))
      continue;
    find_wrong(lambda, t, work);
    const auto& wrong = work.wrong;
    if (wrong.empty()) {
      weights_ = reference_ + step_;
      for (std::size_t i = 0; i < features_.size(); ++i) {
        double& weight = weights_[static_cast<Index>(i)];
        if (guess_.sign[i] == 0 || std::abs(weight) < t.weight) weight = 0;
      }
      multipliers_ = candidate_;
      return true;
    }
    if (wrong.size() < fewest) {
      fewest = wrong.size();
      grace = kGrace;
      share = std::min(1.0, share / kShorter);
    } else if (--grace < 0) {
      return false;
    } else {
      share *= kShorter;
    }
    keep_most_wrong(share, lambda, work);
    for (const Index element : wrong) exchange(element);
  }
  return false;
}

// Of what is wrong, this share of each kind: weights and rows that are to come, and to go.
void Column::keep_most_wrong(double share, double lambda, ColumnWorkspace& work) const {
  if (share == 1) return;
  const auto n = static_cast<Index>(features_.size());
  std::array<std::vector<std::pair<double, Index>>, 4> kinds;  // the most wrong first
  for (const Index e : work.wrong) {
    const bool is_row = e >= n, goes = is_in(e);
    const double error = is_row ? (goes ? -candidate_[e - n] : slack_[e - n])
                         : goes ? std::abs(reference_[e] + step_[e])
                                : std::abs(gradient_[e]) / due(e, lambda);
    kinds[2 * std::size_t(is_row) + std::size_t(goes)].emplace_back(-error, e);
  }
  work.wrong.clear();
  for (auto& kind : kinds) {
    std::sort(kind.begin(), kind.end());
    kind.resize(static_cast<std::size_t>(std::ceil(share * static_cast<double>(kind.size()))));
    for (const auto& [error, e] : kind) work.wrong.push_back(e);
  }
}

void Column::exchange(Index element) {
  const auto n = static_cast<Index>(features_.size());
  if (element >= n) {
    guess_.tight[static_cast<std::size_t>(element - n)] ^= 1;
    return;
  }
  auto& sign = guess_.sign[static_cast<std::size_t>(element)];
  sign = static_cast<std::int8_t>(sign != 0 ? 0 : gradient_[element] > 0 ? -1 : 1);
}

// The stationary point of the guess: weights out of it are zero, rows in it are tight up to their
// softness; then the gradient and the slack of everything there.
void Column::solve_guess(double lambda, const ColumnTolerances& t, ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size()), m = static_cast<Index>(rows_.size());
  step_ = Vector::Zero(n);
  gradient_ = full_gradient_there_ + proximal_weight_ * (reference_ - weight_center_);
  slack_ = slack_there_;
  for (Index i = 0; i < n; ++i) {
    if (guess_.sign[static_cast<std::size_t>(i)] != 0 || reference_[i] == 0) continue;
    step_[i] = -reference_[i];
    gram_.add_column(i, step_[i], gradient_);
    gradient_[i] += proximal_weight_ * step_[i];
    if (m > 0) slack_ += step_[i] * work.values.row(i).transpose();
  }
  candidate_ = multipliers_there_;
  for (Index k = 0; k < m; ++k) {
    if (guess_.tight[static_cast<std::size_t>(k)] != 0 || candidate_[k] == 0) continue;
    gradient_ -= candidate_[k] * work.values.col(k);
    candidate_[k] = 0;
  }
  correct_guess(lambda, work);
  for (int time = 0; time < kMostCorrections && !is_accurate(lambda, t); ++time) {
    correct_guess(lambda, work);
  }
}

Column::Vector Column::signed_costs() const {
  return costs_.cwiseProduct(Eigen::Map<const Eigen::Vector<std::int8_t, Eigen::Dynamic>>(
                                 guess_.sign.data(), costs_.size())
                                 .cast<double>());
}

// Takes out what the equations of the guess leave over; more than once, for with a small proximal
// weight the factor is rounded far more than what is left over (iterative refinement).
void Column::correct_guess(double lambda, ColumnWorkspace& work) {
  Vector weights, multipliers;
  respond(-gradient_ - lambda * signed_costs(), (candidate_ - multiplier_center_) / rho_ - slack_,
          weights, multipliers, work);
  step_ += weights;
  candidate_ += multipliers;
  curved_ = gram_ * step_;
  gradient_ =
      full_gradient_there_ + curved_ + proximal_weight_ * (reference_ + step_ - weight_center_);
  if (rows_.empty()) return;
  add_product(work.values, candidate_ - multipliers_there_, gradient_);
  slack_ = slack_there_;
  add_product(work.values.transpose(), step_, slack_);
}

// Whether the answer of the present guess solves its own equations, or at least much better than
// the reference does: rounding of that size is gone after another round.
bool Column::is_accurate(double lambda, const ColumnTolerances& t) const {
  const auto square = [](double x) { return x * x; };
  const auto small = [](double error, double before, double tol) {
    return std::sqrt(error) <= std::max(tol, kSpoilt * std::sqrt(before));
  };
  double error = 0, before = 0;
  for (Index i = 0; i < step_.size(); ++i) {
    const int sign = guess_.sign[static_cast<std::size_t>(i)];
    if (sign == 0) continue;
    const double unit = allowed(i, lambda, t);
    error += square((gradient_[i] + sign * due(i, lambda)) / unit);
    before += square((full_gradient_there_[i] + sign * due(i, lambda)) / unit);
  }
  if (!small(error, before, 1)) return false;
  error = before = 0;
  for (Index k = 0; k < candidate_.size(); ++k) {
    if (guess_.tight[static_cast<std::size_t>(k)] == 0) continue;
    error += square(slack_[k] - (candidate_[k] - multiplier_center_[k]) / rho_);
    before += square(slack_there_[k]);
  }
  return small(error, before, t.row);
}

void Column::find_wrong(double lambda, const ColumnTolerances& t, ColumnWorkspace& work) const {
  const auto n = static_cast<Index>(features_.size()), m = static_cast<Index>(rows_.size());
  work.wrong.clear();
  for (Index i = 0; i < n; ++i) {
    const int sign = guess_.sign[static_cast<std::size_t>(i)];
    const bool wrong = sign == 0 ? std::abs(gradient_[i]) > due(i, lambda) + allowed(i, lambda, t)
                                 : (reference_[i] + step_[i]) * sign < 0;
    if (wrong) work.wrong.push_back(i);
  }
  for (Index k = 0; k < m; ++k) {
    const bool wrong = guess_.tight[static_cast<std::size_t>(k)] != 0
                           ? candidate_[k] < 0
                           : slack_[k] + multiplier_center_[k] / rho_ > t.row;
    if (wrong) work.wrong.push_back(n + k);
  }
}

// ||(Xu - y)_active||^2 is quadratic about the reference; its slope is s'd where K [d; .] = [s; 0].
void Column::measure(ColumnWorkspace& work) {
  step_ = weights_ - reference_;
  curved_ = gram_ * step_;
  squared_residual_ = squared_residual_there_ + step_.dot(2 * gradient_there_ + curved_);
  slope_ = 0;
  weight_slope_.setZero();
  multiplier_slope_.setZero();
  measured_ = true;
  if (!synchronise(work)) return;
  const Vector costs = signed_costs();
  respond(-costs, Vector::Zero(static_cast<Index>(rows_.size())), weight_slope_, multiplier_slope_,
          work);
  slope_ = -costs.dot(weight_slope_);
}

}  // namespace nettrim::layer
