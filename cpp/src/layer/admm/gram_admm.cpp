#include "layer/admm/gram_admm.hpp"

#include <cmath>
#include <limits>
#include <utility>

#include "linalg/factor.hpp"
#include "linalg/inverse.hpp"

namespace nettrim::layer {
namespace {

// Of the copy W2 = U: where every row counts a lighter one than elsewhere takes fewer steps.
constexpr double kLightness = 0.2;
constexpr Index kFeaturesPerPiece = 128;
constexpr Index kFewestSteps = 2, kUsualSteps = 10, kMostSteps = 50;  // between certificates

template <class A, class B>
double dot(const A& a, const B& b) {
  return (a.template cast<double>() * b.template cast<double>()).sum();
}

}  // namespace

LinearForm::LinearForm(const UnitProgram<double>& p)
    : proximal_weights(kLightness *
                       proximal_weights_of(p.lengths, std::numeric_limits<float>::epsilon())),
      square(p.total * p.total) {
  const auto X = [&](Range r) -> Matrix<double> { return p.X(r) * p.x_scale; };
  gram = gram_of(p.n_features(), p.samples, p.threads, X);
  gram.triangularView<Eigen::StrictlyUpper>() = gram.transpose();
  Matrix<double> lower = gram;
  lower.diagonal() += proximal_weights;
  inverse = inverse_of_definite(lower, p.threads);
  const View<double> Y(p.given.Y, p.n_outputs(), p.n_samples());
  const Matrix<double> zero = Matrix<double>::Zero(p.n_outputs(), p.n_features());
  moments = parallel_total(p.samples, p.threads, zero, [&](Range r, Matrix<double>& sum) {
    add_product(Y.middleCols(r.begin, r.size), p.X(r).transpose(), sum, p.x_scale * p.y_scale);
  });
}

template <class S>
GramAdmm<S>::GramAdmm(const UnitProgram<double>& p, const LinearForm& form,
                      const LayerOptions& options, Pair&& state)
    : p_(p),
      form_(form),
      options_(options),
      features_(cut(p.n_features(), kFeaturesPerPiece, p.threads)),
      inverse_(form.inverse.cast<S>()),
      moments_(form.moments.cast<S>()),
      proximal_(form.proximal_weights.cast<S>()),
      state_(std::move(state)),
      weights_(p.n_outputs(), p.n_features()),
      image_(weights_),
      right_(weights_),
      sparse_(weights_),
      until_certificate_(options.check_every) {}

template <class S>
GramAdmm<S>::GramAdmm(const UnitProgram<double>& p, const LinearForm& form,
                      const LayerOptions& options)
    : GramAdmm(p, form, options, Pair{}) {
  const Matrix<S> zero = Matrix<S>::Zero(p.n_outputs(), p.n_features());
  state_ = {zero, zero, zero, 1};  // the targets
  project();
  state_ = {weights_, image_, weights_, 0};
  const double l1 = norm_in_metric(p, weights_, form.proximal_weights);
  rho_ = first_rho(p.constrained() ? 1.0 : p.level, l1, (weights_.array() != 0).count());
}

template <class S>
template <class T>
GramAdmm<S>::GramAdmm(GramAdmm<T>&& other, const LayerOptions& options)
    : GramAdmm(other.p_, other.form_, options, Pair{}) {
  if (other.moved_) other.relax();
  state_ = {other.state_.sigma.template cast<S>(), Matrix<S>(weights_.rows(), weights_.cols()),
            other.state_.weights.template cast<S>(), other.state_.alpha};
  over_features([&](Range r) {
    write_product(state_.sigma, form_.gram.middleCols(r.begin, r.size),
                  state_.image.middleCols(r.begin, r.size));
  });
  rho_ = other.rho_;
  until_certificate_ = std::min(kUsualSteps, options.check_every);
  balance_ = other.balance_;
}

template <class S>
template <class Body>
void GramAdmm<S>::over_features(Body&& body) const {
  parallel_over(features_, p_.threads, [&](Range r, int) { body(r); });
}

template <class S>
void GramAdmm<S>::step() {
  if (moved_) relax();
  project();
  if (old_weights_.size() == 0) remember();
  find_distance();
  if (balance_.is_due()) rebalance();
  threshold();
  moved_ = true;
  ++steps_;
  --until_certificate_;
}

// s += relaxation (W - pair), where W1 = Y + keep (2 XU - s1 - Y).
template <class S>
void GramAdmm<S>::relax() {
  const double left = 1 - kRelaxation * keep_;
  const S a = static_cast<S>(left), b = static_cast<S>(kRelaxation * (2 * keep_ - 1));
  over_features([&](Range r) {
    const auto part = [&](auto& m) { return m.middleCols(r.begin, r.size); };
    part(state_.sigma) = a * part(state_.sigma) + b * part(weights_);
    part(state_.image) = a * part(state_.image) + b * part(image_);
    part(state_.weights) += S(kRelaxation) * (part(sparse_) - part(weights_));
  });
  state_.alpha = left * state_.alpha + kRelaxation * (1 - keep_);
}

template <class S>
void GramAdmm<S>::project() {
  const S alpha = static_cast<S>(state_.alpha);
  over_features([&](Range r) {
    const auto part = [&](auto& m) { return m.middleCols(r.begin, r.size); };
    part(right_) = part(state_.image) + alpha * part(moments_) +
                   part(state_.weights) * proximal_.segment(r.begin, r.size).asDiagonal();
  });
  over_features([&](Range r) {
    const auto part = [&](auto& m) { return m.middleCols(r.begin, r.size); };
    write_product(right_, part(inverse_), part(weights_));
    part(image_) = part(right_) - part(weights_) * proximal_.segment(r.begin, r.size).asDiagonal();
  });
}

// ||X sigma + alpha Y||^2, with signals(column) a pair of expressions, sigma and its image there.
template <class S>
template <class Signals>
double GramAdmm<S>::square_of(double alpha, Signals&& signals) const {
  const S twice = static_cast<S>(2 * alpha);
  const double square =
      parallel_sum(static_cast<Index>(features_.size()), p_.threads, [&](Index k) {
        const Range r = features_[static_cast<std::size_t>(k)];
        double sum = 0;
        for (Index j = r.begin; j < r.begin + r.size; ++j) {
          const auto [sigma, image] = signals(j);
          sum += dot(sigma, image + twice * moments_.col(j).array());
        }
        return sum;
      });
  return std::max(square + alpha * alpha * form_.square, 0.0);
}

// The one scalar that couples all outputs, from Z's distance 2 XU - s1 - Y.
template <class S>
void GramAdmm<S>::find_distance() {
  const double distance = std::sqrt(square_of(-(1 + state_.alpha), [&](Index j) {
    return std::pair(2 * weights_.col(j).array() - state_.sigma.col(j).array(),
                     2 * image_.col(j).array() - state_.image.col(j).array());
  }));
  if (p_.constrained()) {
    keep_ = distance > p_.level ? p_.level / distance : 1.0;
  } else {
    keep_ = rho_ / (2 + rho_);
  }
}

template <class S>
void GramAdmm<S>::threshold() {
  const double penalty = p_.constrained() ? 1.0 : p_.level;
  over_features([&](Range r) {
    for (Index j = r.begin; j < r.begin + r.size; ++j) {
      const auto z = 2 * weights_.col(j).array() - state_.weights.col(j).array();
      shrink(p_, j, penalty / rho_, form_.proximal_weights[j], z, sparse_.col(j).array());
    }
  });
}

template <class S>
void GramAdmm<S>::remember() {
  old_weights_ = weights_;
  old_image_ = image_;
  old_multipliers_ = {state_.sigma - weights_, state_.image - image_, state_.weights - weights_,
                      state_.alpha};
}

// By how far pair and multipliers have come since the last look.
template <class S>
void GramAdmm<S>::rebalance() {
  const auto size = [&](const auto& change) {
    return parallel_sum(p_.n_features(), p_.threads, [&](Index j) {
      return form_.proximal_weights[j] * change(j).template cast<double>().matrix().squaredNorm();
    });
  };
  const auto moved = [&](Index j) { return (weights_ - old_weights_).col(j).array(); };
  const double pair = size(moved) + square_of(0, [&](Index j) {
                        return std::pair(moved(j), (image_ - old_image_).col(j).array());
                      });
  const auto pulled = [&](const Matrix<S>& s, const Matrix<S>& u, const Matrix<S>& old, Index j) {
    return s.col(j).array() - u.col(j).array() - old.col(j).array();
  };
  const double multipliers =
      size([&](Index j) { return pulled(state_.weights, weights_, old_multipliers_.weights, j); }) +
      square_of(state_.alpha - old_multipliers_.alpha, [&](Index j) {
        return std::pair(pulled(state_.sigma, weights_, old_multipliers_.sigma, j),
                         pulled(state_.image, image_, old_multipliers_.image, j));
      });
  if (const double factor = balance_.factor(pair, multipliers); factor != 1) change_rho(factor);
  remember();
}

// Keeps the multipliers rho U as they are.
template <class S>
void GramAdmm<S>::change_rho(double factor) {
  const S shrink = static_cast<S>(1 / factor);
  rho_ *= factor;
  over_features([&](Range r) {
    const auto draw = [&](Matrix<S>& given, const Matrix<S>& to) {
      auto part = given.middleCols(r.begin, r.size);
      const auto end = to.middleCols(r.begin, r.size);
      part = end + shrink * (part - end);
    };
    draw(state_.sigma, weights_);
    draw(state_.image, image_);
    draw(state_.weights, weights_);
  });
  state_.alpha /= factor;
  find_distance();
}

template <class S>
void GramAdmm<S>::report(EngineResult<double>& a) const {
  a.weights = sparse_.template cast<double>();
  const double scale = -rho_ * (1 - keep_);
  write_signals(scale * (2 * weights_ - state_.sigma).template cast<double>(),
                -scale * (1 + state_.alpha), a.dual);
  a.certificate = certify(p_, a.weights, a.dual);
}

// Errors fall by the same share with every step: the next certificate is where this leads to the
// tolerance.
template <class S>
void GramAdmm<S>::on_certificate(double infeasibility, double gap) {
  balance_.on_certificate(infeasibility, gap);
  const double error = std::max(infeasibility, std::abs(gap));
  Index next = kUsualSteps;
  if (error_ > error) {
    const double fall = std::log(error_ / error) / static_cast<double>(steps_);
    const double left = std::log(error / options_.tol) / fall;
    next = kFewestSteps + static_cast<Index>(std::min(left, 1.0 * kMostSteps));
  }
  until_certificate_ = std::min(next, options_.check_every);
  error_ = error;
  steps_ = 0;
}

// In which the multipliers run away when no weights come within epsilon of Y.
template <class S>
const Matrix<double>* GramAdmm<S>::ray(const EngineResult<double>&) {
  if (++looks_for_ray_ % kRaysApart != 0 || !p_.constrained()) return nullptr;
  const Matrix<double> U = weights_.template cast<double>();
  write_signals(keep_ * (2 * U - state_.sigma.template cast<double>()) - U,
                1 - keep_ * (1 + state_.alpha), ray_);
  return &ray_;
}

template <class S>
void GramAdmm<S>::write_signals(const Matrix<double>& weights, double share_of_Y,
                                Matrix<double>& out) const {
  out.resize(p_.n_outputs(), p_.n_samples());
  p_.signals_of(weights, out);
  const View<double> Y(p_.given.Y, p_.n_outputs(), p_.n_samples());
  out += share_of_Y * p_.y_scale * Y;
}

template class GramAdmm<float>;
template class GramAdmm<double>;
template GramAdmm<double>::GramAdmm(GramAdmm<float>&&, const LayerOptions&);

}  // namespace nettrim::layer
