// The inverse of a symmetric positive definite matrix that loses and gains parts of itself. Lower
// triangles throughout.
#pragma once

#include "nettrim/types.hpp"

namespace nettrim::budget {

// Inverse of a matrix given by its lower triangle, which it takes the place of.
void invert(Eigen::Ref<Matrix<double>> lower);

// From the inverse of G to that of G + sign V V'.
void update(Eigen::Ref<Matrix<double>> inverse, const Matrix<double>& V, double sign);

}  // namespace nettrim::budget
