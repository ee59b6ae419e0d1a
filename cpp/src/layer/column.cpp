#include "layer/column.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nettrim::layer {
namespace {

// Exchanges of one guess, and how many of them may fail to reduce the number of wrong elements.
constexpr Index kMostExchanges = 20;
constexpr Index kGrace = 3;
constexpr int kMostCorrections = 3;  // of a guess's answer, beside the first
constexpr int kCenterUpdates = 3, kFirmCenterUpdates = 50;
constexpr double kMostStiffer = 1e5;
constexpr double kRounding = 1e-15;  // of a gradient, over the norm of what it is the gradient of
constexpr double kSpoilt = 1e-3;     // share of an error that rounding leaves in a spoilt answer

void append_zeros(Eigen::VectorXd& vector, Index count) {
  vector.conservativeResize(vector.size() + count);
  vector.tail(count).setZero();
}

}  // namespace

template <class G>
void Column<G>::add_features(const std::vector<Index>& features, const Vector& costs) {
  features_.insert(features_.end(), features.begin(), features.end());
  costs_.conservativeResize(static_cast<Index>(features_.size()));
  costs_.tail(costs.size()) = costs;
  append_zeros(weights_, static_cast<Index>(features.size()));
  append_zeros(weight_slope_, static_cast<Index>(features.size()));
  guess_.sign.resize(features_.size(), 0);
}

template <class G>
void Column<G>::keep_features(const std::vector<Index>& places) {
  const auto known = std::lower_bound(places.begin(), places.end(), gram_.size());
  gram_.keep({places.begin(), known});
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto from = static_cast<std::size_t>(places[i]);
    features_[i] = features_[from];
    guess_.sign[i] = guess_.sign[from];
    costs_[static_cast<Index>(i)] = costs_[places[i]];
    weights_[static_cast<Index>(i)] = weights_[places[i]];
    weight_slope_[static_cast<Index>(i)] = weight_slope_[places[i]];
  }
  features_.resize(places.size());
  guess_.sign.resize(places.size());
  costs_.conservativeResize(static_cast<Index>(places.size()));
  weights_.conservativeResize(static_cast<Index>(places.size()));
  weight_slope_.conservativeResize(static_cast<Index>(places.size()));
}

template <class G>
void Column<G>::add_rows(const std::vector<Index>& rows, const Vector& bounds) {
  rows_.insert(rows_.end(), rows.begin(), rows.end());
  bounds_.conservativeResize(static_cast<Index>(rows_.size()));
  bounds_.tail(bounds.size()) = bounds;
  append_zeros(multipliers_, bounds.size());
  append_zeros(multiplier_slope_, bounds.size());
  guess_.tight.resize(rows_.size(), 1);
}

template <class G>
void Column<G>::start(const Vector& weights, const Vector& multipliers) {
  weights_ = weights;
  multipliers_ = multipliers;
  for (std::size_t i = 0; i < features_.size(); ++i) {
    const double w = weights_[static_cast<Index>(i)];
    guess_.sign[i] = static_cast<std::int8_t>((w > 0) - (w < 0));
  }
}

template <class G>
void Column<G>::refer(const Vector& gradient, double squared_residual,
                      const ColumnWorkspace& work) {
  reference_ = weights_;
  multipliers_there_ = multipliers_;
  squared_residual_there_ = squared_residual_ = squared_residual;
  noise_ = kRounding * (std::sqrt(squared_residual) + multipliers_.template lpNorm<1>());
  gradient_there_ = full_gradient_there_ = gradient;
  slack_there_.resize(0);
  if (!rows_.empty()) {
    gradient_there_.noalias() -= work.values * multipliers_;
    slack_there_.noalias() = work.values.transpose() * weights_;
    slack_there_ -= bounds_;
  }
  weight_center_ = weights_;
  multiplier_center_ = multipliers_;
}

template <class G>
bool Column<G>::is_right(double price, const ColumnTolerances& t) const {
  if (!measured_) return false;
  for (Index i = 0; i < weights_.size(); ++i) {
    const int sign = guess_.sign[static_cast<std::size_t>(i)];
    const double gradient = full_gradient_there_[i];
    if (sign != 0 && weights_[i] == 0) return false;  // it was cut off on the way here
    const double error =
        sign == 0 ? std::abs(gradient) - due(i, price) : std::abs(gradient + sign * due(i, price));
    if (error > allowed(i, price, t)) return false;
  }
  for (Index k = 0; k < multipliers_.size(); ++k) {
    const double error = multipliers_[k] > 0 ? std::abs(slack_there_[k]) : slack_there_[k];
    if (error > t.row) return false;
  }
  return true;
}

template <class G>
void Column<G>::follow(double price_change, double least_weight) {
  if (!measured_) return;
  price_ += price_change;
  for (Index i = 0; i < weights_.size(); ++i) {
    const int sign = guess_.sign[static_cast<std::size_t>(i)];
    weights_[i] += price_change * weight_slope_[i];
    if (sign * weights_[i] < least_weight) weights_[i] = 0;
  }
  multipliers_ = (multipliers_ + price_change * multiplier_slope_).cwiseMax(0.0);
}

template <class G>
void Column<G>::solve(double price, const ColumnTolerances& t, ColumnWorkspace& work) {
  const double dearest = costs_.size() > 0 ? price * costs_.maxCoeff() : 0;
  stiffness_ = kStiffness * std::clamp(dearest, 1.0, kMostStiffer);  // multipliers are as large
  work.order.clear();
  if (!settle(price, t, kCenterUpdates, work)) settle_firmly(price, t, work);
  price_ = price;
  measure(work);
}

// Exchanges of many at a time are quick, but may go in circles; a walk does not. Then the centers
// of the proximal terms follow.
template <class G>
bool Column<G>::settle(double price, const ColumnTolerances& t, int updates,
                       ColumnWorkspace& work) {
  const Guess before = guess_;
  bool solved = exchange_until_right(price, t, work);
  if (!solved) {
    walk(price, work);
    solved = exchange_until_right(price, t, work);
  }
  if (!solved) {
    guess_ = before;
    return false;
  }
  for (int update = 1; update < updates && solved && move_centers(price, t); ++update) {
    solved = exchange_until_right(price, t, work);
  }
  return true;
}

// A column with few active samples is nearly a linear program, most of whose guesses are singular
// but for the anchor: with a firm one it is solved in steps (proximal points: Rockafellar, 1976).
template <class G>
void Column<G>::settle_firmly(double price, const ColumnTolerances& t, ColumnWorkspace& work) {
  const double before = anchor_;
  bool solved = false;
  while (!solved && raise_anchor(t.anchor, work)) {
    solved = settle(price, t, kFirmCenterUpdates, work);
  }
  anchor_ = before;
  work.order.clear();
}

// Whether they moved by more than the tolerances.
template <class G>
bool Column<G>::move_centers(double price, const ColumnTolerances& t) {
  bool pulled = false;
  for (Index i = 0; i < weights_.size(); ++i) {
    const double pull = anchor_ * std::abs(weights_[i] - weight_center_[i]);
    pulled = pulled || pull > allowed(i, price, t);
  }
  double slack = 0;
  if (!rows_.empty())
    slack = (multipliers_ - multiplier_center_).cwiseAbs().maxCoeff() / stiffness_;
  weight_center_ = weights_;
  multiplier_center_ = multipliers_;
  return pulled || slack > t.row;
}

// Leaves weights and multipliers alone unless it succeeds.
template <class G>
bool Column<G>::exchange_until_right(double price, const ColumnTolerances& t,
                                     ColumnWorkspace& work) {
  std::size_t fewest = std::numeric_limits<std::size_t>::max();
  Index grace = kGrace;
  for (Index round = 0; round < kMostExchanges; ++round) {
    if (!synchronise(work)) return false;
    solve_guess(price, t, work);
    if (!is_accurate(price, t) && raise_anchor(kMostAnchor<G>, work)) continue;
    find_wrong(price, t, work);
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
    } else if (--grace < 0) {
      return false;
    }
    for (const Index element : wrong) exchange(element);
  }
  return false;
}

template <class G>
void Column<G>::exchange(Index element) {
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
template <class G>
void Column<G>::solve_guess(double price, const ColumnTolerances& t, ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size()), m = static_cast<Index>(rows_.size());
  step_ = Vector::Zero(n);
  gradient_ = full_gradient_there_ + anchor_ * (reference_ - weight_center_);
  slack_ = slack_there_;
  for (Index i = 0; i < n; ++i) {
    if (guess_.sign[static_cast<std::size_t>(i)] != 0 || reference_[i] == 0) continue;
    step_[i] = -reference_[i];
    gram_.add_column(i, step_[i], gradient_);
    gradient_[i] += anchor_ * step_[i];
    if (m > 0) slack_ += step_[i] * work.values.row(i).transpose();
  }
  candidate_ = multipliers_there_;
  for (Index k = 0; k < m; ++k) {
    if (guess_.tight[static_cast<std::size_t>(k)] != 0 || candidate_[k] == 0) continue;
    gradient_ -= candidate_[k] * work.values.col(k);
    candidate_[k] = 0;
  }
  correct_guess(price, work);
  for (int time = 0; time < kMostCorrections && !is_accurate(price, t); ++time) {
    correct_guess(price, work);
  }
}

// Takes out what the equations of the guess leave over; more than once, for with a small anchor the
// factor is rounded far more than what is left over (iterative refinement).
template <class G>
void Column<G>::correct_guess(double price, ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size());
  Vector weights, multipliers;
  respond(
      [&](Index e) {
        return e >= n ? (candidate_[e - n] - multiplier_center_[e - n]) / stiffness_ - slack_[e - n]
                      : -gradient_[e] - due(e, price) * guess_.sign[static_cast<std::size_t>(e)];
      },
      weights, multipliers, work);
  step_ += weights;
  candidate_ += multipliers;
  curved_ = gram_ * step_;
  gradient_ = full_gradient_there_ + curved_ + anchor_ * (reference_ + step_ - weight_center_);
  if (rows_.empty()) return;
  gradient_.noalias() += work.values * (candidate_ - multipliers_there_);
  slack_ = slack_there_;
  slack_.noalias() += work.values.transpose() * step_;
}

// Whether the answer of the present guess solves its own equations, or at least much better than
// the reference does: rounding of that size is gone after another round.
template <class G>
bool Column<G>::is_accurate(double price, const ColumnTolerances& t) const {
  const auto square = [](double x) { return x * x; };
  const auto small = [](double error, double before, double tol) {
    return std::sqrt(error) <= std::max(tol, kSpoilt * std::sqrt(before));
  };
  double error = 0, before = 0;
  for (Index i = 0; i < step_.size(); ++i) {
    const int sign = guess_.sign[static_cast<std::size_t>(i)];
    if (sign == 0) continue;
    const double unit = allowed(i, price, t);
    error += square((gradient_[i] + sign * due(i, price)) / unit);
    before += square((full_gradient_there_[i] + sign * due(i, price)) / unit);
  }
  if (!small(error, before, 1)) return false;
  error = before = 0;
  for (Index k = 0; k < candidate_.size(); ++k) {
    if (guess_.tight[static_cast<std::size_t>(k)] == 0) continue;
    error += square(slack_[k] - (candidate_[k] - multiplier_center_[k]) / stiffness_);
    before += square(slack_there_[k]);
  }
  return small(error, before, t.row);
}

template <class G>
void Column<G>::find_wrong(double price, const ColumnTolerances& t, ColumnWorkspace& work) const {
  const auto n = static_cast<Index>(features_.size()), m = static_cast<Index>(rows_.size());
  work.wrong.clear();
  for (Index i = 0; i < n; ++i) {
    const int sign = guess_.sign[static_cast<std::size_t>(i)];
    const bool wrong = sign == 0 ? std::abs(gradient_[i]) > due(i, price) + allowed(i, price, t)
                                 : (reference_[i] + step_[i]) * sign < 0;
    if (wrong) work.wrong.push_back(i);
  }
  for (Index k = 0; k < m; ++k) {
    const bool wrong = guess_.tight[static_cast<std::size_t>(k)] != 0
                           ? candidate_[k] < 0
                           : slack_[k] + multiplier_center_[k] / stiffness_ > t.row;
    if (wrong) work.wrong.push_back(n + k);
  }
}

// ||(Xu - y)_active||^2 is quadratic about the reference; its slope is s'd where K [d; .] = [s; 0].
template <class G>
void Column<G>::measure(ColumnWorkspace& work) {
  step_ = weights_ - reference_;
  curved_ = gram_ * step_;
  squared_residual_ = squared_residual_there_ + step_.dot(2 * gradient_there_ + curved_);
  slope_ = 0;
  weight_slope_.setZero();
  multiplier_slope_.setZero();
  measured_ = true;
  if (!synchronise(work)) return;
  const auto n = static_cast<Index>(features_.size());
  const auto pull = [&](Index e) {
    return e < n ? guess_.sign[static_cast<std::size_t>(e)] * costs_[e] : 0;
  };
  respond([&](Index e) { return -pull(e); }, weight_slope_, multiplier_slope_, work);
  for (Index i = 0; i < n; ++i) slope_ -= pull(i) * weight_slope_[i];
}

template class Column<float>;
template class Column<double>;

}  // namespace nettrim::layer
