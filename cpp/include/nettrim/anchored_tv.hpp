// An image as the product of a reflectance that is constant in pieces and an illumination of a
// known subspace, both positive: BranchHull with the total variation of one factor, anchored at its
// mean, for without an anchor there is no minimiser.
#pragma once

#include "nettrim/branch_hull.hpp"

namespace nettrim {

// With y the image over its mean:
//   min TV(w) + mu sum x + slack sum xi  s.t.  w (x + xi) >= y;  w, x + xi, xi >= 0;  mean w = 1,
// x in the range of the basis. TV is the sum of absolute differences inside rows and columns.
// Views of row-major arrays that outlive the call.
struct AnchoredTvProgram {
  Index height = 0, width = 0, modes = 0;
  const double* image = nullptr;  // height x width, nonnegative and not all zero
  const double* basis = nullptr;  // pixels x modes, with orthonormal columns
  double mu = 0, slack = 0;       // slack >= mu > 0: otherwise there is no least value
};

// w, x and xi satisfy every constraint; x and xi are in the units of the image, the objective and
// its bound in those of the program.
struct AnchoredTvSolution {
  Eigen::VectorXd w, x, xi;  // of the pixels, row by row
  double objective = 0, dual_bound = 0, gap = 0;
  Status status = Status::numerical;
  Index iterations = 0;
  double seconds = 0;
};

// By alternating directions with a certificate. Throws std::invalid_argument for a program or
// options that make no sense.
AnchoredTvSolution solve_anchored_tv(const AnchoredTvProgram& program,
                                     const BranchHullOptions& options = {});

}  // namespace nettrim
