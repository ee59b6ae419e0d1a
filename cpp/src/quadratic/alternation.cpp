#include "quadratic/alternation.hpp"

#include "linalg/inverse.hpp"

namespace nettrim::quadratic {
namespace {

constexpr float kPenalty = 0.1F;  // the first one, on features of length one
constexpr Index kStepsPerPenalty = 6, kFewestSteps = 30, kMostSteps = 300;
constexpr double kSettled = 3e-4;  // share of the support that may still change at the end
// Growth of the penalty where at least that share has changed.
constexpr std::pair<double, double> kGrowth[] = {{0.1, 1.3}, {0.005, 1.2}, {0.0, 1.1}};

}  // namespace

Alternation::Alternation(const Forms& forms, const BudgetPattern& pattern, Index budget,
                         const Matrix<float>& prior, Matrix<float> moments)
    : forms_(forms),
      selection_(pattern, forms.features(), budget, forms.threads()),
      moments_(std::move(moments)),
      weights_(prior),
      right_(prior.rows(), prior.cols()),
      kept_(prior.rows(), prior.cols()),
      penalty_(kPenalty) {
  selection_.mark(weights_, kept_);
  size_ = static_cast<double>(kept_.cast<Index>().sum());
  before_ = kept_;
  invert_forms();
}

void Alternation::run(budget::StopFlag& stop, const Renewal& renew) {
  while (iterations_ < kMostSteps && !stop.poll(0) && !stop.is_late()) {
    if (renew && iterations_ % (kStepsPerPenalty / 2) == 0) renew(weights(), moments_);
    step();
    if (++iterations_ % kStepsPerPenalty != 0) continue;
    const auto changes = count_differences(before_, kept_, forms_.threads());
    const double changed = static_cast<double>(changes) / std::max(size_, 1.0);
    if (changed <= kSettled && iterations_ >= kFewestSteps) return;
    before_ = kept_;
    raise_penalty(changed);
  }
}

Matrix<float> Alternation::weights() const {
  return weights_.array() * kept_.array().cast<float>();
}

// With the multipliers force_ * weights_ out of the support, and none in it.
void Alternation::step() {
  const auto pieces = cut(forms_.features(), 16, forms_.threads());
  const auto columns = [](auto& m, Range r) { return m.middleCols(r.begin, r.size).array(); };
  parallel_over(pieces, forms_.threads(), [&](Range r, int) {
    columns(right_, r) =
        columns(moments_, r) +
        columns(weights_, r) *
            (columns(kept_, r).template cast<float>() * (penalty_ + force_) - force_);
    columns(weights_, r) *= (1 - columns(kept_, r).template cast<float>()) * (force_ / penalty_);
  });
  for_pieces(forms_, [&](std::size_t k, Range features) {
    const Range rows = forms_.all()[k].outputs;
    add_product(right_.middleRows(rows.begin, rows.size),
                inverses_[k].middleCols(features.begin, features.size),
                weights_.block(rows.begin, features.begin, rows.size, features.size));
  });
  force_ = penalty_;
  selection_.mark(weights_, kept_);
}

void Alternation::raise_penalty(double changed) {
  for (const auto& [share, factor] : kGrowth) {
    if (changed < share) continue;
    penalty_ *= static_cast<float>(factor);
    return invert_forms();
  }
}

// Many forms are inverted by a thread each, few of them by all threads together.
void Alternation::invert_forms() {
  const auto count = static_cast<Index>(forms_.all().size());
  const bool many = count >= forms_.threads();
  inverses_.resize(forms_.all().size());
  parallel_for_uneven(count, many ? forms_.threads() : 1, [&](Index k, int) {
    Matrix<float>& inverse = inverses_[static_cast<std::size_t>(k)];
    inverse = forms_.all()[static_cast<std::size_t>(k)].gram;
    inverse.diagonal().array() += penalty_;
    invert<float>(inverse, many ? 1 : forms_.threads());
    inverse.triangularView<Eigen::StrictlyUpper>() = inverse.transpose();
  });
}

}  // namespace nettrim::quadratic
