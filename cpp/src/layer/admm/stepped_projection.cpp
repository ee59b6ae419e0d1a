#include "layer/admm/stepped_projection.hpp"

namespace nettrim::layer {
namespace {

class NoWork final : public PieceWork {
 public:
  void before(Index) override {}
  void after(Index) override {}
};

Pair<double> in_double(const Pair<float>& pair) {
  return {pair.signal.cast<double>(), pair.weights.cast<double>()};
}

}  // namespace

// Takes the move of a piece before it is projected, and adds its projection afterwards.
class SteppedProjection::Riding final : public PieceWork {
 public:
  Riding(SteppedProjection& mine, const Pair<double>& state, Pair<double>& nearest, PieceWork& work)
      : mine_(mine), state_(state), nearest_(nearest), work_(work) {}

  void before(Index piece) override {
    work_.before(piece);
    const Range r = mine_.p_.samples[static_cast<std::size_t>(piece)];
    const auto now = state_.signal.middleCols(r.begin, r.size);
    auto last = mine_.state_.signal.middleCols(r.begin, r.size);
    mine_.move_.signal.middleCols(r.begin, r.size) = (now - last).cast<float>();
    last = now;
  }

  void after(Index piece) override {
    const Range r = mine_.p_.samples[static_cast<std::size_t>(piece)];
    auto found = mine_.nearest_.signal.middleCols(r.begin, r.size);
    found += mine_.projected_.signal.middleCols(r.begin, r.size).cast<double>();
    nearest_.signal.middleCols(r.begin, r.size) = found;
    work_.after(piece);
  }

 private:
  SteppedProjection& mine_;
  const Pair<double>& state_;
  Pair<double>& nearest_;
  PieceWork& work_;
};

SteppedProjection::SteppedProjection(const UnitProgram<double>& program, Projection<float>& single,
                                     const Pair<float>& state, const Pair<float>& nearest,
                                     const Eigen::VectorXd& proximal_weights)
    : p_(program),
      single_(single),
      state_(in_double(state)),
      nearest_(in_double(nearest)),
      move_(state),
      projected_(nearest) {
  refine(proximal_weights);
}

void SteppedProjection::apply(const Pair<double>& state, Pair<double>& nearest, PieceWork& work) {
  move_.weights = (state.weights - state_.weights).cast<float>();
  state_.weights = state.weights;
  Riding riding(*this, state, nearest, work);
  single_.apply(move_, projected_, riding);
  nearest_.weights += projected_.weights.cast<double>();
  nearest.weights = nearest_.weights;
}

// What is given was rounded as coarsely as the whole state: a step on the gradient that it leaves.
void SteppedProjection::refine(const Eigen::VectorXd& proximal_weights) {
  p_.signals_of(nearest_.weights, nearest_.signal);
  const Matrix<double> left = p_.gradient_of(state_.signal - nearest_.signal) *
                                  proximal_weights.cwiseInverse().asDiagonal() +
                              state_.weights - nearest_.weights;
  move_.signal.setZero();
  move_.weights = left.cast<float>();
  NoWork none;
  single_.apply(move_, projected_, none);
  nearest_.weights += projected_.weights.cast<double>();
  nearest_.signal += projected_.signal.cast<double>();
}

}  // namespace nettrim::layer
