// The projection of a double-precision state at the speed of single precision: what the state has
// moved by since the last one is projected, whose rounding is as small as the move. Where it adds
// up beside small moves the whole is corrected, by a step on the gradient that it leaves in double.
#pragma once

#include "layer/admm/projection.hpp"

namespace nettrim::layer {

class SteppedProjection final : public Projection<double> {
 public:
  // `single` projects for the same program, and gave `nearest` for `state`.
  SteppedProjection(const UnitProgram<double>& program, Projection<float>& single,
                    const Pair<float>& state, const Pair<float>& nearest,
                    const Eigen::VectorXd& proximal_weights);

  void apply(const Pair<double>& state, Pair<double>& nearest, PieceWork& work) override;

 private:
  class Riding;
  void correct();

  const UnitProgram<double>& p_;
  Projection<float>& single_;
  Eigen::VectorXd inverse_weights_;  // one over the proximal ones
  Pair<double> state_, nearest_;
  Pair<float> move_, projected_;
  double last_move_ = 0, moves_ = 0;  // lengths: of the last one, and of all since a correction
  Index since_correction_ = 0;
};

}  // namespace nettrim::layer
