#include "layer/admm/admm.hpp"

#include <cmath>
#include <limits>
#include <numeric>

#include "layer/group_certificate.hpp"
#include "layer/lower_rows.hpp"

namespace nettrim::layer {
namespace {

// Single precision stalls before it converges: this many certificates without progress end it.
constexpr Index kPatience = 40;
constexpr Index kMixingPatience = 6;  // with mixing, which comes near in fewer steps
// Between its certificates: for each digit that the error is off at least, or most of what the last
// digits took, and within limits.
constexpr double kStepsPerDigit = 15, kCaution = 0.7;
constexpr Index kSoonest = 10, kLatest = 40;

// Signal entries of one piece: W1 is the point nearest to Z = 2 XU - s that the entry allows.
template <class S, class Entries>
double squared_distance(Entries entry, const S* signal, const S* state, Index begin, Index end) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index i = begin; i < end; ++i) {
    const double d = static_cast<double>(2 * signal[i] - state[i] - entry.target(i));
    sum += entry.active(i) ? d * d : 0.0;
  }
  return sum;
}

// s += relaxation (W1 - XU)
template <class S, class Entries>
void relax(Entries entry, const S* signal, S* state, S keep, Index begin, Index end) {
  const S relaxation = S(kRelaxation);
#pragma omp simd
  for (Index i = begin; i < end; ++i) {
    const S z = 2 * signal[i] - state[i], target = entry.target(i);
    const S on = target + keep * (z - target), off = z < target ? z : target;
    state[i] += relaxation * ((entry.active(i) ? on : off) - signal[i]);
  }
}

}  // namespace

// Rides on the projection: the last step is finished just before its piece is read, and the next
// distance is measured just after the piece is written.
template <class S>
class Admm<S>::Work final : public PieceWork {
 public:
  explicit Work(Admm& admm) : admm_(admm) {}
  void before(Index piece) override { admm_.advance(piece); }
  void after(Index piece) override { admm_.measure(piece); }

 private:
  Admm& admm_;
};

template <class S>
Admm<S>::Admm(const UnitProgram<S>& program, const LayerOptions& options, Mixing mixing,
              std::unique_ptr<Projection<S>> projection)
    : p_(program),
      tol_(options.tol),
      check_every_(options.check_every),
      until_certificate_(options.check_every),
      waited_(options.check_every),
      partial_(program.samples.size()),
      projection_(std::move(projection)) {
  proximal_weights_ = proximal_weights_of(p_.lengths, std::numeric_limits<S>::epsilon());
  if (p_.groups) proximal_weights_ = p_.groups->evened(proximal_weights_);
  if (!projection_) projection_ = make_projection(p_, proximal_weights_);
  if (mixing == Mixing::anderson) anderson_.emplace(p_, proximal_weights_.cwiseSqrt());
}

// A cold start is the ridge solution, which the projection gives for nothing.
template <class S>
void Admm<S>::start(const Start<S>& start) {
  const Index outputs = p_.n_outputs();
  state_ = {Matrix<S>(outputs, p_.n_samples()), Matrix<S>::Zero(outputs, p_.n_features())};
  nearest_ = {Matrix<S>(outputs, p_.n_samples()), Matrix<S>::Zero(outputs, p_.n_features())};
  sparse_ = state_.weights;
  moved_ = false;
  if (start.weights == nullptr) {
    fill_with_targets(state_.signal);
    Work work(*this);
    projection_->apply(state_, nearest_, work);
    state_ = nearest_;
  } else {
    state_.weights = *start.weights;
    p_.signals_of(*start.weights, state_.signal);
    nearest_ = state_;
  }
  begin_rho();
  if (start.dual != nullptr) add_multipliers(*start.dual);
  old_state_ = state_;
  old_nearest_ = nearest_;
  balance_ = Balance(kFirstWait);
}

template <class S>
template <class T>
void Admm<S>::go_on(const Admm<T>& other) {
  std::vector<Index> same(static_cast<std::size_t>(p_.n_features()));
  std::iota(same.begin(), same.end(), Index{0});
  go_on(other, same);
}

template <class S>
template <class T>
void Admm<S>::go_on(const Admm<T>& other, const std::vector<Index>& places) {
  std::vector<Index> added;
  for (Index j = 0; j < p_.n_features(); ++j) {
    if (places[static_cast<std::size_t>(j)] < 0) added.push_back(j);
  }
  const auto moved = [&](const Matrix<T>& weights) {
    Matrix<S> mine = Matrix<S>::Zero(weights.rows(), p_.n_features());
    for (Index j = 0; j < mine.cols(); ++j) {
      const Index place = places[static_cast<std::size_t>(j)];
      if (place >= 0) mine.col(j) = weights.col(place).template cast<S>();
    }
    return mine;
  };
  const auto same = [&](const Pair<T>& pair) -> Pair<S> {
    return {pair.signal.template cast<S>(), moved(pair.weights)};
  };
  state_ = same(other.state_);
  nearest_ = same(other.nearest_);
  old_state_ = same(other.old_state_);
  old_nearest_ = same(other.old_nearest_);
  sparse_ = moved(other.sparse_);
  rho_ = other.rho_;
  keep_ = other.keep_;
  distance_ = other.distance_;
  moved_ = other.moved_;
  balance_ = other.balance_;
  until_certificate_ = other.until_certificate_;
  waited_ = other.waited_;
  last_error_ = other.last_error_;
  adjust_to_metric(other.proximal_weights_, places);
  if (!added.empty()) add_multipliers_of(added);
}

template <class S>
void Admm<S>::begin_rho() {
  if (p_.groups) {
    const auto size =
        p_.groups->size_in_metric(state_.weights.template cast<double>(), proximal_weights_);
    const double penalty = p_.constrained() ? 1.0 : p_.level;
    rho_ = size.used > 0 ? penalty * static_cast<double>(size.used) / size.sum : 1.0;
    return;
  }
  const double l1 = norm_in_metric(p_, state_.weights, proximal_weights_);
  const auto count = (state_.weights.array() != 0).count();
  rho_ = first_rho(p_.constrained() ? 1.0 : p_.level, l1, count);
}

template <class S>
void Admm<S>::fill_with_targets(Matrix<S>& out) const {
  p_.with_entries([&](auto entry) {
    for (Index i = 0; i < out.size(); ++i) {
      const auto e = entry(i);
      // A bound above zero draws nothing to it, and may stand for none at all.
      out.data()[i] = e.active || !p_.groups ? e.target : std::min(e.target, S(0));
    }
  });
}

// s += (G, -X'G / proximal) / rho, which keeps X'U1 + proximal U2 = 0.
template <class S>
void Admm<S>::add_multipliers(const Matrix<S>& dual) {
  const S scale = static_cast<S>(1 / rho_);
  state_.signal += scale * dual;
  state_.weights -= scale * p_.gradient_of(dual) *
                    proximal_weights_.cwiseInverse().template cast<S>().asDiagonal();
}

// The multipliers of the weights in the state stay as they are; it had another metric.
template <class S>
void Admm<S>::adjust_to_metric(const Eigen::VectorXd& others, const std::vector<Index>& places) {
  for (Index j = 0; j < p_.n_features(); ++j) {
    const Index place = places[static_cast<std::size_t>(j)];
    if (place < 0) continue;
    const S ratio = static_cast<S>(others[place] / proximal_weights_[j]);
    state_.weights.col(j) =
        nearest_.weights.col(j) + ratio * (state_.weights.col(j) - nearest_.weights.col(j));
  }
}

// Of features whose weights have been zero.
template <class S>
void Admm<S>::add_multipliers_of(const std::vector<Index>& features) {
  Matrix<S> multipliers(p_.n_outputs(), p_.n_samples());
  dual(multipliers);
  const Matrix<S> slopes = p_.gradient_of(multipliers);
  for (const Index j : features) {
    const S scale = static_cast<S>(1 / (rho_ * proximal_weights_[j]));
    state_.weights.col(j) = old_state_.weights.col(j) = -scale * slopes.col(j);
  }
}

template <class S>
void Admm<S>::step() {
  if (moved_) {
    const bool mixes = anderson_ && anderson_->is_due();
    if (mixes) before_ = state_;
    state_.weights += static_cast<S>(kRelaxation) * (sparse_ - nearest_.weights);
    if (mixes) mix();
  }
  Work work(*this);
  projection_->apply(state_, nearest_, work);
  finish_measure();
  if (balance_.is_due()) rebalance();
  threshold();
  moved_ = true;
  --until_certificate_;
}

// Takes the plain step at once, for it leads elsewhere.
template <class S>
void Admm<S>::mix() {
  parallel_for(static_cast<Index>(p_.samples.size()), p_.threads,
               [&](Index k, int) { advance(k); });
  anderson_->mix(before_, state_);
  moved_ = false;
}

template <class S>
void Admm<S>::advance(Index piece) {
  if (!moved_) return;
  const Range r = p_.samples[static_cast<std::size_t>(piece)];
  const Index outputs = p_.n_outputs();
  p_.with_entries([&](auto entry) {
    relax(entry, nearest_.signal.data(), state_.signal.data(), static_cast<S>(keep_),
          r.begin * outputs, (r.begin + r.size) * outputs);
  });
}

template <class S>
void Admm<S>::measure(Index piece) {
  const Range r = p_.samples[static_cast<std::size_t>(piece)];
  const Index outputs = p_.n_outputs();
  p_.with_entries([&](auto entry) {
    partial_[static_cast<std::size_t>(piece)] =
        squared_distance(entry, nearest_.signal.data(), state_.signal.data(), r.begin * outputs,
                         (r.begin + r.size) * outputs);
  });
}

// The one scalar that couples all outputs.
template <class S>
void Admm<S>::finish_measure() {
  distance_ = std::sqrt(std::accumulate(partial_.begin(), partial_.end(), 0.0));
  if (p_.constrained()) {
    keep_ = distance_ > p_.level ? p_.level / distance_ : 1.0;
  } else {
    keep_ = rho_ / (2 + rho_);
  }
}

template <class S>
void Admm<S>::threshold() {
  const double penalty = p_.constrained() ? 1.0 : p_.level;
  if (p_.groups) {
    reflected_ = S(2) * nearest_.weights - state_.weights;
    p_.groups->shrink(reflected_, penalty / rho_, proximal_weights_, sparse_);
    return;
  }
  for (Index j = 0; j < p_.n_features(); ++j) {
    const auto z = 2 * nearest_.weights.col(j).array() - state_.weights.col(j).array();
    shrink(p_, j, penalty / rho_, proximal_weights_[j], z, sparse_.col(j).array());
  }
}

template <class S>
void Admm<S>::dual(Matrix<S>& out) const {
  const S keep = static_cast<S>(keep_), rho = static_cast<S>(rho_);
  over_entries(out, [=](const auto& e, S signal, S state) {
    const S d = 2 * signal - state - e.target;
    return -rho * (e.active ? (1 - keep) * d : std::max(d, S(0)));
  });
}

// In which the multipliers run away when no weights satisfy the constraints.
template <class S>
void Admm<S>::direction(Matrix<S>& out) const {
  const S keep = static_cast<S>(keep_);
  const bool half_spaces_alone = !p_.constrained();
  over_entries(out, [=](const auto& e, S signal, S state) {
    if (e.active && half_spaces_alone) return S(0);
    const S d = 2 * signal - state - e.target;
    const S move = e.target - signal + (e.active ? keep * d : std::min(d, S(0)));
    return e.active ? move : std::min(move, S(0));
  });
}

template <class S>
template <class Formula>
void Admm<S>::over_entries(Matrix<S>& out, Formula&& formula) const {
  parallel_for(static_cast<Index>(p_.samples.size()), p_.threads, [&](Index k, int) {
    const Range r = p_.samples[static_cast<std::size_t>(k)];
    const Index begin = r.begin * p_.n_outputs(), end = (r.begin + r.size) * p_.n_outputs();
    p_.with_entries([&](auto entry) {
      for (Index i = begin; i < end; ++i) {
        out.data()[i] = formula(entry(i), nearest_.signal.data()[i], state_.signal.data()[i]);
      }
    });
  });
}

template <class S>
void Admm<S>::rebalance() {
  const auto& [s, u] = state_;
  const auto& [x, w] = nearest_;
  const auto& [old_s, old_u] = old_state_;
  const auto& [old_x, old_w] = old_nearest_;
  const Eigen::Vector<S, Eigen::Dynamic> root = proximal_weights_.cwiseSqrt().template cast<S>();
  const double pair = static_cast<double>((x - old_x).squaredNorm() +
                                          ((w - old_w) * root.asDiagonal()).squaredNorm());
  const double multipliers =
      static_cast<double>(((s - x) - (old_s - old_x)).squaredNorm() +
                          (((u - w) - (old_u - old_w)) * root.asDiagonal()).squaredNorm());
  if (const double factor = balance_.factor(pair, multipliers); factor != 1) change_rho(factor);
  old_state_ = state_;
  old_nearest_ = nearest_;
}

template <class S>
void Admm<S>::report(EngineResult<S>& a) const {
  a.weights = sparse_;
  dual(a.dual);
  if (p_.groups) meet_free_features(p_, a.dual);
  a.certificate = certify(p_, a.weights, a.dual);
  if (p_.groups) lower_last_rows(p_, tol_, a);
}

template <class S>
Patience Admm<S>::patience() const {
  if (std::is_same_v<S, double>) return Patience(std::numeric_limits<Index>::max());
  return Patience(anderson_ ? kMixingPatience : kPatience);
}

template <class S>
const Matrix<S>* Admm<S>::ray(Index outputs, Index samples) {
  if (++looks_for_ray_ % kRaysApart != 0) return nullptr;
  ray_.resize(outputs, samples);
  direction(ray_);
  return &ray_;
}

// With mixing, errors fall fast enough to tell when the next certificate may be the last.
template <class S>
void Admm<S>::on_certificate(double infeasibility, double gap) {
  balance_.on_certificate(infeasibility, gap);
  const double error = std::max(infeasibility, std::abs(gap));
  const double digits = std::log10(last_error_ / error);
  const double pace = digits > 0 ? kCaution * static_cast<double>(waited_) / digits : 0;
  const double wait = std::max(pace, kStepsPerDigit) * std::log10(std::max(error / tol_, 1.0));
  waited_ = std::clamp(static_cast<Index>(std::min(wait, 1.0 * kLatest)), kSoonest, kLatest);
  until_certificate_ = waited_;
  last_error_ = error;
}

// Keeps the multipliers rho U as they are; the factorisation does not mind.
template <class S>
void Admm<S>::change_rho(double factor) {
  const S shrink = static_cast<S>(1 / factor);
  rho_ *= factor;
  if (anderson_) anderson_->forget();
  state_.weights = nearest_.weights + shrink * (state_.weights - nearest_.weights);
  parallel_for(static_cast<Index>(p_.samples.size()), p_.threads, [&](Index k, int) {
    const Range r = p_.samples[static_cast<std::size_t>(k)];
    auto s = state_.signal.middleCols(r.begin, r.size);
    const auto x = nearest_.signal.middleCols(r.begin, r.size);
    s = x + shrink * (s - x);
    measure(k);
  });
  finish_measure();
}

template class Admm<float>;
template class Admm<double>;
template void Admm<double>::go_on(const Admm<float>&);
template void Admm<double>::go_on(const Admm<float>&, const std::vector<Index>&);
template void Admm<double>::go_on(const Admm<double>&, const std::vector<Index>&);
template void Admm<float>::go_on(const Admm<float>&, const std::vector<Index>&);
template void Admm<float>::go_on(const Admm<double>&, const std::vector<Index>&);

}  // namespace nettrim::layer
