#include "layer/column.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nettrim::layer {
namespace {

// Exchanges of one guess, and how many of them may fail to reduce the number of wrong elements
// before only the worst are exchanged.
constexpr Index kMostExchanges = 20;
constexpr Index kGrace = 3;
constexpr double kWorstShare = 0.3;
// Weights that may enter at a time, of those in: features are correlated, and one makes others
// unnecessary.
constexpr double kEnteringShare = 0.1;
constexpr Index kEnteringLeast = 5;
// Up to this share of changed rows an update of the factor is cheaper than a new one.
constexpr Index kColumnsAtOnce = 8;
constexpr double kUpdateShare = 0.15;
// The proximal terms: stiffness of the rows in units of a sample, anchor of the weights, where the
// longest feature has length 1 to 2. The first is raised and the second lowered after every
// success, and the other way round when guesses go in circles.
constexpr double kSoftest = 0.1, kStiffest = 1e7, kStiffer = 4, kSofter = 0.2;
constexpr double kWarmStiffness = 1000;  // where multipliers are known
constexpr double kFirstAnchor = 1e-5, kAnchorRaise = 30, kAnchorFall = 0.1;
// Lowest anchor: above the rounding of the Gram matrix.
template <class G>
constexpr double kLowestAnchor = std::is_same_v<G, float> ? 1e-6 : 1e-8;
constexpr int kSoftenings = 5;
constexpr int kCenterUpdates = 3;

void append_zeros(Eigen::VectorXd& vector, Index count) {
  vector.conservativeResize(vector.size() + count);
  vector.tail(count).setZero();
}

}  // namespace

template <class G>
Column<G>::Column() : anchor_(kLowestAnchor<G>) {}

template <class G>
void Column<G>::add_features(const std::vector<Index>& features) {
  features_.insert(features_.end(), features.begin(), features.end());
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
    weights_[static_cast<Index>(i)] = weights_[places[i]];
    weight_slope_[static_cast<Index>(i)] = weight_slope_[places[i]];
  }
  features_.resize(places.size());
  guess_.sign.resize(places.size());
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
  stiffness_ = kWarmStiffness;
  for (std::size_t i = 0; i < features_.size(); ++i) {
    const double w = weights_[static_cast<Index>(i)];
    guess_.sign[i] = static_cast<std::int8_t>((w > 0) - (w < 0));
  }
}

template <class G>
void Column<G>::refer(const Vector& gradient, double squared_residual,
                      const ColumnWorkspace& work) {
  reference_ = weights_;
  squared_residual_there_ = squared_residual_ = squared_residual;
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
    const double error = sign == 0 ? std::abs(gradient) - price : std::abs(gradient + sign * price);
    if (error > t.gradient * price) return false;
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
  for (Index i = 0; i < weights_.size(); ++i) {
    const int sign = guess_.sign[static_cast<std::size_t>(i)];
    weights_[i] += price_change * weight_slope_[i];
    if (sign * weights_[i] < least_weight) weights_[i] = 0;
  }
  multipliers_ = (multipliers_ + price_change * multiplier_slope_).cwiseMax(0.0);
}

template <class G>
void Column<G>::solve(double price, const ColumnTolerances& t, ColumnWorkspace& work) {
  const Guess before = guess_;
  work.order.clear();
  bool easy = true, solved = true;
  for (int update = 0; update < kCenterUpdates && solved; ++update) {
    for (int softening = 0; !(solved = exchange_until_right(price, t, work)); ++softening) {
      guess_ = before;
      work.order.clear();
      easy = false;
      if (softening == kSoftenings) break;
      stiffness_ = std::max(kSoftest, kSofter * stiffness_);
      anchor_ = std::max(kFirstAnchor, kAnchorRaise * anchor_);
    }
    if (!solved || !move_centers(price, t)) break;
  }
  measure(work);
  if (easy) {
    stiffness_ = std::min(kStiffest, kStiffer * stiffness_);
    anchor_ = std::max(kLowestAnchor<G>, kAnchorFall * anchor_);
  }
}

// Whether they moved by more than the tolerances.
template <class G>
bool Column<G>::move_centers(double price, const ColumnTolerances& t) {
  double pull = 0, slack = 0;
  if (weights_.size() > 0) pull = anchor_ * (weights_ - weight_center_).cwiseAbs().maxCoeff();
  if (!rows_.empty())
    slack = (multipliers_ - multiplier_center_).cwiseAbs().maxCoeff() / stiffness_;
  weight_center_ = weights_;
  multiplier_center_ = multipliers_;
  return pull > t.gradient * price || slack > t.row;
}

// Leaves weights and multipliers alone unless it succeeds.
template <class G>
bool Column<G>::exchange_until_right(double price, const ColumnTolerances& t,
                                     ColumnWorkspace& work) {
  std::size_t fewest = std::numeric_limits<std::size_t>::max();
  Index grace = kGrace;
  for (Index round = 0; round < kMostExchanges; ++round) {
    if (!synchronise(work)) return false;
    solve_guess(price, work);
    find_wrong(price, t, work);
    auto& wrong = work.wrong;
    if (wrong.empty()) {
      weights_ = reference_ + step_;
      for (std::size_t i = 0; i < features_.size(); ++i) {
        double& weight = weights_[static_cast<Index>(i)];
        if (guess_.sign[i] == 0 || std::abs(weight) < t.weight) weight = 0;
      }
      multipliers_ = candidate_;
      return true;
    }
    std::size_t count = wrong.size();
    if (count < fewest) {
      fewest = count;
      grace = kGrace;
    } else if (--grace < 0) {
      count = std::max<std::size_t>(
          1, static_cast<std::size_t>(kWorstShare * static_cast<double>(count)));
    }
    std::sort(wrong.begin(), wrong.end(), std::greater<>());
    wrong.resize(count);
    Index entering = std::max(
        kEnteringLeast, static_cast<Index>(kEnteringShare * static_cast<double>(support_size_)));
    for (const auto& [score, element] : wrong) {
      const bool enters = element < static_cast<Index>(features_.size()) && !is_in(element);
      if (enters && --entering < 0) continue;
      exchange(element);
    }
  }
  return false;
}

// Elements are working features and, after them, working rows.
template <class G>
bool Column<G>::is_in(Index element) const {
  const auto n = static_cast<Index>(features_.size());
  return element < n ? guess_.sign[static_cast<std::size_t>(element)] != 0
                     : guess_.tight[static_cast<std::size_t>(element - n)] != 0;
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

// Brings the factor to the present guess: by updates, or anew.
template <class G>
bool Column<G>::synchronise(ColumnWorkspace& work) {
  const auto elements = static_cast<Index>(features_.size() + rows_.size());
  support_size_ =
      std::count_if(guess_.sign.begin(), guess_.sign.end(), [](auto s) { return s != 0; });
  tight_size_ = std::count(guess_.tight.begin(), guess_.tight.end(), 1);
  if (work.order.empty()) return factor_anew(work);
  Index in = 0, out = 0;
  for (Index e = 0; e < elements; ++e) {
    const bool there = work.place[static_cast<std::size_t>(e)] >= 0;
    if (is_in(e) && !there) ++in;
    if (!is_in(e) && there) ++out;
  }
  const auto most =
      static_cast<Index>(kUpdateShare * static_cast<double>(support_size_ + tight_size_));
  if (in + out > most || work.factor.size() + in > work.factor.room()) return factor_anew(work);
  for (Index e = 0; e < elements; ++e) {
    Index& place = work.place[static_cast<std::size_t>(e)];
    if (is_in(e) || place < 0) continue;
    work.factor.remove(place);
    work.order[static_cast<std::size_t>(place)] = -1;
    place = -1;
  }
  for (Index e = 0; e < elements; ++e) {
    if (is_in(e) && work.place[static_cast<std::size_t>(e)] < 0 && !move_in(e, work)) {
      return factor_anew(work);
    }
  }
  return true;
}

template <class G>
bool Column<G>::factor_anew(ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size());
  work.order.clear();
  work.place.assign(features_.size() + rows_.size(), -1);
  for (Index e = 0; e < n + static_cast<Index>(rows_.size()); ++e) {
    if (!is_in(e)) continue;
    work.place[static_cast<std::size_t>(e)] = static_cast<Index>(work.order.size());
    work.order.push_back(e);
  }
  const Index size = support_size_ + tight_size_;
  auto lower = work.factor.prepare(size, size + size / 8 + 16);
  // A few columns at a time: rows of the Gram matrix are read, columns are written.
  for (Index first = 0; first < support_size_; first += kColumnsAtOnce) {
    const Index last = std::min(first + kColumnsAtOnce, support_size_);
    for (Index i = first; i < size; ++i) {
      const Index e = work.order[static_cast<std::size_t>(i)];
      const auto copy = [&](const auto* entries) {
        for (Index j = first; j < std::min(last, i + 1); ++j) {
          lower(i, j) = static_cast<double>(entries[work.order[static_cast<std::size_t>(j)]]);
        }
      };
      if (e < n) {
        copy(gram_.row(e));
      } else {
        copy(work.values.col(e - n).data());
      }
    }
  }
  auto corner = lower.bottomRightCorner(tight_size_, tight_size_);
  corner.setZero();
  corner.diagonal().setConstant(-1 / stiffness_);
  lower.diagonal().head(support_size_).array() += anchor_;
  return work.factor.factor(support_size_);
}

template <class G>
bool Column<G>::move_in(Index element, ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size());
  const auto size = static_cast<Index>(work.order.size());
  if (work.entries.size() < size) work.entries.resize(2 * size);
  for (Index i = 0; i < size; ++i) {
    const Index other = work.order[static_cast<std::size_t>(i)];
    double value = 0;
    if (other >= 0 && element < n) {
      value = other < n ? gram_(other, element) : work.values(element, other - n);
    } else if (other >= 0 && other < n) {
      value = work.values(other, element - n);
    }
    work.entries[i] = value;
  }
  const double diagonal = element < n ? gram_(element, element) + anchor_ : -1 / stiffness_;
  if (!work.factor.append(work.entries.head(size), diagonal, element < n)) return false;
  work.place[static_cast<std::size_t>(element)] = size;
  work.order.push_back(element);
  return true;
}

// The stationary point of the guess: weights out of it are zero, rows in it are tight up to their
// softness; then the gradient and the slack of everything there.
template <class G>
void Column<G>::solve_guess(double price, ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size()), m = static_cast<Index>(rows_.size());
  const auto size = static_cast<Index>(work.order.size());
  step_ = Vector::Zero(n);
  gradient_ = gradient_there_ + anchor_ * (reference_ - weight_center_);
  slack_ = slack_there_;
  for (Index i = 0; i < n; ++i) {
    if (guess_.sign[static_cast<std::size_t>(i)] != 0 || reference_[i] == 0) continue;
    step_[i] = -reference_[i];
    gram_.add_column(i, step_[i], gradient_);
    gradient_[i] += anchor_ * step_[i];
    if (m > 0) slack_ += step_[i] * work.values.row(i).transpose();
  }
  if (work.rhs.size() < size) work.rhs.resize(2 * size);
  auto rhs = work.rhs.head(size);
  for (Index k = 0; k < size; ++k) {
    const Index e = work.order[static_cast<std::size_t>(k)];
    if (e < 0) {
      rhs[k] = 0;
    } else if (e < n) {
      rhs[k] = -gradient_[e] - price * guess_.sign[static_cast<std::size_t>(e)];
    } else {
      rhs[k] = -slack_[e - n] - multiplier_center_[e - n] / stiffness_;
    }
  }
  work.factor.solve(rhs);
  candidate_ = Vector::Zero(m);
  for (Index k = 0; k < size; ++k) {
    const Index e = work.order[static_cast<std::size_t>(k)];
    if (e >= n) {
      candidate_[e - n] = rhs[k];
    } else if (e >= 0) {
      step_[e] = rhs[k];
    }
  }
  curved_ = gram_ * step_;
  gradient_ = gradient_there_ + curved_ + anchor_ * (reference_ + step_ - weight_center_);
  if (m > 0) {
    gradient_.noalias() += work.values * candidate_;
    slack_ = slack_there_;
    slack_.noalias() += work.values.transpose() * step_;
  }
}

template <class G>
void Column<G>::find_wrong(double price, const ColumnTolerances& t, ColumnWorkspace& work) const {
  const auto n = static_cast<Index>(features_.size()), m = static_cast<Index>(rows_.size());
  work.wrong.clear();
  for (Index i = 0; i < n; ++i) {
    const int sign = guess_.sign[static_cast<std::size_t>(i)];
    if (sign == 0) {
      const double excess = std::abs(gradient_[i]) / price - 1;
      if (excess > t.gradient) work.wrong.emplace_back(excess, i);
    } else {
      const double weight = (reference_[i] + step_[i]) * sign;
      if (weight < 0) work.wrong.emplace_back(-weight * gram_(i, i) / price, i);
    }
  }
  for (Index k = 0; k < m; ++k) {
    if (guess_.tight[static_cast<std::size_t>(k)] != 0) {
      if (candidate_[k] < 0) work.wrong.emplace_back(-candidate_[k] / price, n + k);
    } else {
      const double excess = slack_[k] + multiplier_center_[k] / stiffness_;
      if (excess > t.row)
        work.wrong.emplace_back(excess / (t.row + std::abs(bounds_[k]) + 0.05), n + k);
    }
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
  const auto size = static_cast<Index>(work.order.size());
  if (work.rhs.size() < size) work.rhs.resize(2 * size);
  auto rhs = work.rhs.head(size);
  const auto sign_of = [&](Index k) {
    const Index e = work.order[static_cast<std::size_t>(k)];
    const bool feature = e >= 0 && e < static_cast<Index>(features_.size());
    return feature ? guess_.sign[static_cast<std::size_t>(e)] : 0;
  };
  for (Index k = 0; k < size; ++k) rhs[k] = sign_of(k);
  work.factor.solve(rhs);
  for (Index k = 0; k < size; ++k) {
    slope_ += sign_of(k) * rhs[k];
    const Index e = work.order[static_cast<std::size_t>(k)];
    const auto n = static_cast<Index>(features_.size());
    if (e >= n) {
      multiplier_slope_[e - n] = -rhs[k];
    } else if (e >= 0) {
      weight_slope_[e] = -rhs[k];
    }
  }
}

template class Column<float>;
template class Column<double>;

}  // namespace nettrim::layer
