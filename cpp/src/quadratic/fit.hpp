// The weights of least quadratic loss on a support.
#pragma once

#include "budget/stop.hpp"
#include "quadratic/forms.hpp"
#include "quadratic/selection.hpp"

namespace nettrim::quadratic {

// From weights at unit size that are zero out of the support, as they are given: by Cholesky
// factors in double precision where these are cheaper, else by conjugate gradients on all outputs
// at once. When time is up those of the start.
Matrix<double> fit(const QuadraticProgram& program, const Forms& forms,
                   const Matrix<float>& moments, const Mask& support, Matrix<float> start,
                   budget::StopFlag& stop);

}  // namespace nettrim::quadratic
