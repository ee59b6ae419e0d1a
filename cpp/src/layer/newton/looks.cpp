// What newton sees of all samples at the end of a round, and says of it.
#include "layer/newton/newton.hpp"
#include "linalg/product.hpp"

namespace nettrim::layer {
namespace {

constexpr Index kRaysApart = 4;  // rounds between looks for a proof of infeasibility

}  // namespace

// In single precision after estimates: what is wrong is far more then.
template <class S>
void Newton<S>::look_at_all_samples(bool roughly) {
  saw_roughly_ = roughly;
  if (roughly) {
    look<float>();
  } else {
    look<double>();
  }
}

// Signals and gradients of all outputs at once; entries over their bound are remembered.
template <class S>
template <class G>
void Newton<S>::look() {
  const Matrix<G> W = (weights_ * double(p_.x_scale)).template cast<G>();
  const Index outputs = p_.n_outputs();
  const double scale = dual_scale();
  const Eigen::VectorXd slopes = Eigen::VectorXd::Constant(outputs, scale);
  std::vector<std::vector<std::pair<std::int32_t, Excess>>> found(p_.samples.size());
  evidence_ = gather_evidence(p_, [&](Index k, Range piece, Evidence& mine) {
    const Matrix<G> X = p_.X(piece).template cast<G>();
    const Matrix<G> signal = product(W, X);
    p_.with_entries([&](auto entry) {
      const Index first = piece.begin * outputs;
      for (Index i = 0; i < signal.size(); ++i) {
        const auto e = entry(first + i);
        const double excess = double(signal.data()[i]) - double(e.target);
        if (e.active) {
          dual_.data()[first + i] = static_cast<S>(-scale * excess);
        } else if (excess > tolerances_.row) {
          found[static_cast<std::size_t>(k)].push_back(
              {static_cast<std::int32_t>(i % outputs),
               {static_cast<float>(excess), static_cast<std::int32_t>(piece.begin + i / outputs)}});
        }
      }
    });
    if constexpr (std::is_same_v<G, double>) {
      add_piece(p_, piece, signal, dual_, slopes, mine);
    } else {
      add_roughly(piece, X, mine);
    }
  });
  if (p_.regularisation) add_ridge_rows(p_, weights_, slopes, evidence_);
  for (auto& list : excesses_) list = {};
  for (auto& list : found) {
    for (const auto& [output, excess] : list) {
      excesses_[static_cast<std::size_t>(output)].push_back(excess);
    }
    list = {};
  }
}

// What the rounds ask of a look: the gradient and the squares of the active multipliers.
template <class S>
void Newton<S>::add_roughly(Range piece, const Matrix<float>& X, Evidence& mine) const {
  const Matrix<float> G = dual_.middleCols(piece.begin, piece.size).template cast<float>();
  const Index outputs = p_.n_outputs();
  p_.with_entries([&](auto entry) {
    for (Index i = 0; i < G.size(); ++i) {
      if (!entry(piece.begin * outputs + i).active) continue;
      const double g = double(G.data()[i]);
      mine.square[i % outputs] += g * g;
    }
  });
  mine.gradient += double(p_.x_scale) * product(G, X.transpose()).template cast<double>();
}

template <class S>
void Newton<S>::report(EngineResult<S>& a) const {
  a.weights = weights_.template cast<S>();
  a.dual = dual_;
  if (p_.regularisation) a.slopes.setConstant(p_.n_outputs(), dual_scale());
  if constexpr (std::is_same_v<S, double>) {
    if (!saw_roughly_) {
      a.certificate = conclude(p_, p_.norm_of(weights_), evidence_, dual_);
      return;
    }
  }
  a.certificate = certify(p_, a.weights, a.dual, a.slopes);
}

template <class S>
const Matrix<S>* Newton<S>::ray(const EngineResult<S>&) {
  return ++looks_for_ray_ % kRaysApart == 0 ? &dual_ : nullptr;
}

#define NETTRIM_FOR(S)                                     \
  template void Newton<S>::look_at_all_samples(bool);      \
  template void Newton<S>::report(EngineResult<S>&) const; \
  template const Matrix<S>* Newton<S>::ray(const EngineResult<S>&);
NETTRIM_FOR(float)
NETTRIM_FOR(double)
#undef NETTRIM_FOR

}  // namespace nettrim::layer
