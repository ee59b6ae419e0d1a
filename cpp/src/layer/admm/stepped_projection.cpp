#include "layer/admm/stepped_projection.hpp"

#include <cmath>

namespace nettrim::layer {
namespace {

// Moves since the last correction, over the length of the last one, that call for another; and how
// many there are at least.
constexpr double kFar = 1000;
constexpr Index kFewestMoves = 25;

double squared_length(const Pair<float>& pair) {
  return static_cast<double>(pair.signal.squaredNorm()) +
         static_cast<double>(pair.weights.squaredNorm());
}

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
      inverse_weights_(proximal_weights.cwiseInverse()),
      state_(in_double(state)),
      nearest_(in_double(nearest)),
      move_(state),
      projected_(nearest) {
  correct();
}

void SteppedProjection::apply(const Pair<double>& state, Pair<double>& nearest, PieceWork& work) {
  if (since_correction_ >= kFewestMoves && moves_ > kFar * last_move_) correct();
  move_.weights = (state.weights - state_.weights).cast<float>();
  state_.weights = state.weights;
  Riding riding(*this, state, nearest, work);
  single_.apply(move_, projected_, riding);
  nearest_.weights += projected_.weights.cast<double>();
  nearest.weights = nearest_.weights;
  last_move_ = std::sqrt(squared_length(move_));
  moves_ += last_move_;
  ++since_correction_;
}

void SteppedProjection::correct() {
  p_.signals_of(nearest_.weights, nearest_.signal);
  const Matrix<double> slope = p_.gradient_of(state_.signal - nearest_.signal);
  const Matrix<double> left =
      slope * inverse_weights_.asDiagonal() + (state_.weights - nearest_.weights);
  move_.signal.setZero();
  move_.weights = left.cast<float>();
  NoWork none;
  single_.apply(move_, projected_, none);
  nearest_.weights += projected_.weights.cast<double>();
  nearest_.signal += projected_.signal.cast<double>();
  moves_ = 0;
  since_correction_ = 0;
}

}  // namespace nettrim::layer
