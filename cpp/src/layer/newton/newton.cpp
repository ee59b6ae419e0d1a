#include "layer/newton/newton.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>

namespace nettrim::layer {
namespace {

constexpr double kLambdaStep = 3;       // largest factor between the penalties of two rounds
constexpr Index kTrustedRounds = 15;    // of Newton's steps alone, before bounds on lambda count
constexpr double kAimBelow = 0.1;       // of the tolerance, at what a round leaves undone
constexpr double kBesideLambda = 0.01;  // of its relative change: what a column may leave undone
// Relative changes of lambda: the farthest that is followed, and the least for which it is worth
// solving once more with what was seen, to know the next lambda better.
constexpr double kFarthestFollowed = 0.2, kSolvedAnew = 3e-3;
constexpr double kDearLook = 3;        // over a solve, to save which another is worth its time
constexpr double kLowestStart = 1e-3;  // share of the steepest gradient, for a first penalty
// Rounds without progress that end a run. A Gram matrix in single precision gives way to a double
// one as soon as it slows the rounds down.
constexpr Index kPatience = 20, kSinglePatience = 6;
constexpr double kSingleProgress = 0.5;
constexpr double kFirmestProximalWeight = 1e-2;
constexpr double kEstimateError = 0.1;  // relative, of lambda's change while Grams are estimated
// A weight below this share of lambda moves no gradient: the longest feature has length 1 to 2.
constexpr double kNegligible = 2.5e-4;

// A weight that moves no signal noticeably is what a rounded multiplier leaves of a zero. Steps
// held by a firm proximal weight are as short as costs are low: it is for features of one scale.
template <class S>
ColumnTolerances tolerances_for(const UnitProgram<S>& p, double tol) {
  const double signal = p.largest > 0 ? p.largest : 1;
  const double proximal_weight = p.even ? 0 : kFirmestProximalWeight;
  return {kAimBelow * tol, kAimBelow * tol * signal, kAimBelow * tol * signal, proximal_weight};
}

}  // namespace

template <class S>
Newton<S>::Newton(const UnitProgram<S>& program, const Supervisor& supervisor, Precision grams)
    : p_(program),
      supervisor_(supervisor),
      precision_(grams),
      grams_(program, grams),
      tolerances_(tolerances_for(program, supervisor.options().tol)),
      workspaces_(static_cast<std::size_t>(program.threads)),
      weights_(Matrix<double>::Zero(program.n_outputs(), program.n_features())),
      dual_(Matrix<S>::Zero(program.n_outputs(), program.n_samples())),
      excesses_(static_cast<std::size_t>(program.n_outputs())),
      keeps_gram_(excesses_.size()),
      is_right_(excesses_.size()),
      has_grown_(excesses_.size()),
      strides_(excesses_.size(), 1) {
  columns_.reserve(excesses_.size());
  for (Index output = 0; output < program.n_outputs(); ++output) columns_.emplace_back(grams);
}

template <class S>
Patience Newton<S>::patience() const {
  return precision_ == Precision::float32 ? Patience(kSinglePatience, kSingleProgress)
                                          : Patience(kPatience);
}

template <class S>
void Newton<S>::start(const Matrix<S>& weights, const Matrix<S>& dual) {
  const double size = norm_over_active(dual);
  lambda_ = !p_.constrained() ? p_.level / 2 : p_.level > 0 && size > 0 ? p_.level / size : 1;
  start_columns(weights, dual);
  share_room();
  begin_estimates();
  look_at_all_samples(estimates_grams_);
  next_lambda_ = size > 0 && p_.constrained() && p_.level > 0 ? lambda_ : lambda_of_weights();
}

// At an optimum the gradient of every weight that is used equals its penalty. Without weights, a
// penalty at which few are worth having.
template <class S>
double Newton<S>::lambda_of_weights() const {
  if (!p_.constrained()) return p_.level / 2;
  const double paid = weights_.cwiseProduct(evidence_.gradient).sum() / dual_scale();
  const double lambda = paid / p_.norm_of(weights_);
  if (lambda > 0) return lambda;
  const double share = p_.total > 0 ? p_.level / p_.total : 0;
  double steepest = 0;
  for (Index m = 0; m < p_.n_outputs(); ++m) {
    const auto slopes = evidence_.gradient.row(m).cwiseAbs().transpose();
    steepest = std::max(steepest, slopes.cwiseQuotient(p_.costs_of(m)).maxCoeff());
  }
  return std::clamp(share, kLowestStart, 1.0) * steepest / dual_scale();
}

template <class S>
double Newton<S>::norm_over_active(const Matrix<S>& dual) const {
  double square = 0;
  p_.with_entries([&](auto entry) {
    square = parallel_sum(p_.n_samples(), p_.threads, [&](Index sample) {
      double sum = 0;
      for (Index m = 0; m < p_.n_outputs(); ++m) {
        const double g = double(dual(m, sample));
        if (entry(sample * p_.n_outputs() + m).active) sum += g * g;
      }
      return sum;
    });
  });
  return std::sqrt(square);
}

template <class S>
void Newton<S>::step() {
  const double seen_at = dual_scale();
  lambda_ = next_lambda_;
  const bool roughly = estimates_grams_;
  settle(seen_at);
  share_room();
  find_lambda();
  if (!estimates_grams_ && last_change_ > kSolvedAnew && last_change_ < kFarthestFollowed &&
      is_dear_to_look()) {
    solve_at_next_lambda();
    find_lambda();
  }
  follow_lambda();
  look_at_all_samples(roughly);
}

// Beside a solve of all outputs: in multiplications of its two products, and of the factors.
template <class S>
bool Newton<S>::is_dear_to_look() const {
  const auto entries = static_cast<double>(p_.n_samples() * p_.n_features());
  double factors = 0;
  for (const Column& column : columns_) {
    factors += std::pow(static_cast<double>(column.support_size() + column.tight_size()), 3) / 6;
  }
  return 2 * entries * static_cast<double>(p_.n_outputs()) > kDearLook * factors;
}

// With the working sets and gradients of the last look: it costs no other.
template <class S>
void Newton<S>::solve_at_next_lambda() {
  lambda_ = next_lambda_;
  std::fill(is_right_.begin(), is_right_.end(), 0);
  solve_columns();
}

// An interrupt or the time limit leaves the outputs that were not reached as they were.
template <class S>
void Newton<S>::solve_columns() {
  std::atomic<bool> stop = false;
  const auto groups = groups_to_solve();
  parallel_for_uneven(static_cast<Index>(groups.size()), p_.threads, [&](Index k, int thread) {
    const auto& group = groups[static_cast<std::size_t>(k)];
    if (!stop) complete_grams(group);
    for (const Index output : group) {
      if (thread == 0 && supervisor_.limit(0)) stop = true;
      if (stop) return;
      solve_column(output, workspaces_[static_cast<std::size_t>(thread)]);
    }
  });
}

template <class S>
void Newton<S>::solve_column(Index output, ColumnWorkspace& work) {
  auto& column = columns_[static_cast<std::size_t>(output)];
  gather_values(column, work);
  ColumnTolerances t = estimates_grams_ ? tolerances_after(kEstimateError) : tolerances_;
  t.weight = least_weight();
  column.solve(lambda_, t, work);
  if (!keeps_gram_[static_cast<std::size_t>(output)]) column.forget_gram();
}

template <class S>
double Newton<S>::least_weight() const {
  return std::min(tolerances_.weight, kNegligible * lambda_);
}

// What a round may leave undone: little beside the error of lambda itself.
template <class S>
ColumnTolerances Newton<S>::tolerances_after(double lambda_change) const {
  ColumnTolerances t = tolerances_;
  t.gradient = std::max(t.gradient, kBesideLambda * lambda_change);
  t.row = std::max(t.row, kBesideLambda * lambda_change * p_.largest);
  return t;
}

// One Newton step on the squared lambda: the sum of squared residuals is to be epsilon squared.
template <class S>
void Newton<S>::find_lambda() {
  if (!p_.constrained()) return step_to(p_.level / 2);
  double squared_residual = 0;
  for (const auto& column : columns_) squared_residual += column.squared_residual();
  const double missing = p_.level * p_.level - squared_residual, slope = total_slope();
  double lambda = (missing > 0 && p_.total > 0 ? kLambdaStep : 1) * lambda_;
  if (slope > 0) lambda = std::sqrt(std::max(lambda_ * lambda_ + missing / slope, 0.0));
  step_to(safeguard(lambda, missing));
}

// The residual grows with lambda. Steps that go on for long stay between penalties that leave room
// and penalties that leave none; where none does, the ball is slack and lambda goes up and up.
template <class S>
double Newton<S>::safeguard(double lambda, double missing) {
  if (missing > 0) {
    feasible_lambda_ = lambda_ < infeasible_lambda_ ? std::max(feasible_lambda_, lambda_) : lambda_;
    if (lambda_ >= infeasible_lambda_) infeasible_lambda_ = std::numeric_limits<double>::infinity();
  } else {
    infeasible_lambda_ =
        lambda_ > feasible_lambda_ ? std::min(infeasible_lambda_, lambda_) : lambda_;
    if (lambda_ <= feasible_lambda_) feasible_lambda_ = 0;
  }
  slack_ = false;
  if (++lambda_rounds_ <= kTrustedRounds ||
      (lambda > feasible_lambda_ && lambda < infeasible_lambda_ &&
       std::isfinite(infeasible_lambda_))) {
    return lambda;
  }
  if (std::isfinite(infeasible_lambda_))
    return std::sqrt(std::max(feasible_lambda_, infeasible_lambda_ / 9) * infeasible_lambda_);
  slack_ = true;
  return kLambdaStep * lambda_;
}

// Far away the residual goes with a power of lambda, of which its slope tells the exponent.
template <class S>
void Newton<S>::aim() {
  const double exponent = lambda_ * lambda_ * total_slope() / evidence_.residual;
  const double ratio = exponent > 0 ? p_.level / std::sqrt(evidence_.residual) : 1;
  last_step_ = 0;
  feasible_lambda_ = 0;
  infeasible_lambda_ = std::numeric_limits<double>::infinity();
  lambda_rounds_ = 0;
  step_to(lambda_ * std::pow(ratio, 1 / exponent));
}

template <class S>
double Newton<S>::total_slope() const {
  double slope = 0;
  for (const auto& column : columns_) slope += column.slope();
  return slope;
}

// A step back goes half as far as the one before at most: the slope changes from piece to piece,
// and whole steps may go round and round.
template <class S>
void Newton<S>::step_to(double lambda) {
  double step =
      std::clamp(std::log(lambda / lambda_), -std::log(kLambdaStep), std::log(kLambdaStep));
  if (step * last_step_ < 0)
    step = std::clamp(step, -std::abs(last_step_) / 2, std::abs(last_step_) / 2);
  next_lambda_ = lambda_ * std::exp(step);
  last_step_ = step;
  last_change_ = std::abs(next_lambda_ / lambda_ - 1);
}

// Weights and multipliers are piecewise linear in lambda: a small change needs no new solve.
template <class S>
void Newton<S>::follow_lambda() {
  const bool follows = last_change_ < kFarthestFollowed;
  const double change = next_lambda_ - lambda_, least = least_weight();
  if (follows) lambda_ = next_lambda_;
  parallel_for_uneven(p_.n_outputs(), p_.threads, [&](Index output, int) {
    if (follows) columns_[static_cast<std::size_t>(output)].follow(change, least);
    write_back(output);
  });
}

template <class S>
std::size_t most_gram_bytes(const UnitProgram<S>& p) {
  return static_cast<std::size_t>(p.n_outputs()) *
         PackedRows<double>::bytes(static_cast<std::size_t>(p.n_features()));
}

template class Newton<float>;
template class Newton<double>;
template std::size_t most_gram_bytes(const UnitProgram<float>&);
template std::size_t most_gram_bytes(const UnitProgram<double>&);

}  // namespace nettrim::layer
