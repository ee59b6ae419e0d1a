// Dual candidates that violate the constraints of cheap features by rounding alone.
//
// A feature far larger than the others has a cost so low that no multipliers in double precision
// satisfy |x_j'g| <= cost_j: the rounding of g is more. Shrinking g until it does would ruin the
// bound. But an exact g - h is near, with h = A (A'A)^{-1} excess, A the cheap features over the
// free samples, which are the active ones and those whose multiplier is far below zero and stays
// so: it loses ||h|| (||target_free|| + epsilon) at most, and every other x_k'g changes by at most
// ||x_k|| ||h||.
#pragma once

#include "layer/certificate.hpp"

namespace nettrim::layer {

// An output for which an exact candidate stands, and the features whose excess it is rid of.
struct Repair {
  Index output;
  std::vector<Index> features;
};

// Per output, of a candidate or of an exact one near it: a lower bound on <g, target>, an upper one
// on ||g_active||^2, and on the largest |x_j'g| / cost_j.
struct DualSums {
  Eigen::VectorXd linear, square, steepest;
  std::vector<Repair> repairs;
};

// Of features with such products over some of n samples: the least singular value, rounded down.
double least_singular_value(const Matrix<double>& gram, Index n);

template <class S>
DualSums repaired(const UnitProgram<S>& program, const Evidence& evidence, const Matrix<S>& dual);

// Turns a candidate beside weights into the exact one near it, but for rounding; false if it stands
// for itself.
template <class S>
bool write_repairs(const UnitProgram<S>& program, const Matrix<S>& weights,
                   const Eigen::VectorXd& slopes, Matrix<S>& dual);

}  // namespace nettrim::layer
