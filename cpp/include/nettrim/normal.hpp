// The normal distribution function of many numbers, as a GELU asks for it.
#pragma once

#include "nettrim/types.hpp"

namespace nettrim {

// out[i] = P(Z <= z[i]) to 3e-7 absolute; NaN stays NaN. A tenth of the time of a function that is
// right to the last digit.
void normal_distribution(Index n, const float* z, float* out);

}  // namespace nettrim
