// The proof: what weights and a dual candidate, from whichever engine, say about a program.
#pragma once

#include "layer/program.hpp"

namespace nettrim::layer {

// In the units of the program. For G with G_inactive <= 0 and, per output, |X'g|_max <= 1
// (constrained) or <= penalty (penalised),
//   constrained: <G, target> - epsilon ||G_active||_F    <= optimum
//   penalised:   <G, target> - ||G_active||_F^2 / 4      <= optimum
// Candidates are scaled per output until they qualify: `scale`, outputs.
struct Certificate {
  double objective = 0, dual_bound = 0;
  double residual = 0, violation = 0;
  double dual_norm = 0;  // ||G_active||_F after scaling
  Eigen::VectorXd scale;

  double gap() const;
  bool finite() const;
};

// weights: outputs x features, dual: outputs x samples with no positive inactive entry. Everything
// is computed afresh and in double; costs two products.
template <class S>
Certificate certify(const UnitProgram<S>& program, const Matrix<S>& weights, const Matrix<S>& dual);

}  // namespace nettrim::layer
