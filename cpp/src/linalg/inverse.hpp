// The inverse of a symmetric positive definite matrix, also of one that loses and gains parts of
// itself. Lower triangles throughout.
#pragma once

#include "nettrim/types.hpp"

namespace nettrim {

// Inverse of a matrix given by its lower triangle, which it takes the place of. Returns whether the
// matrix was definite, as far as its precision can tell.
template <class S>
bool invert(Eigen::Ref<Matrix<S>> lower, int threads = 1);

// From the inverse of G to that of G + sign V V'.
void update_inverse(Eigen::Ref<Matrix<double>> inverse, const Matrix<double>& V, double sign);

}  // namespace nettrim
