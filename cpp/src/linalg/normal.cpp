// A polynomial in 1 / (1 + c |z|) times the density of a tail: C. Hastings, Approximations for
// Digital Computers, 1955; M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, 7.1.26.
#include "nettrim/normal.hpp"

#include <algorithm>

namespace nettrim {
namespace {

constexpr Index kFew = 64;  // numbers, which registers and the nearest cache hold
using Few = Eigen::Array<float, kFew, 1>;

constexpr float kScale = 0.3275911F * 0.70710678F;  // for z over the root of two
constexpr float kTerms[] = {0.254829592F, -0.284496736F, 1.421413741F, -1.453152027F, 1.061405429F};

Few normal_distribution(const Few& z) {
  const Few t = (1 + kScale * z.abs()).inverse();
  Few polynomial = t * kTerms[4];
  for (int k = 3; k >= 0; --k) polynomial = (polynomial + kTerms[k]) * t;
  const Few tail = polynomial * (-0.5F * z.square()).exp() / 2;
  return (z > 0).select(1 - tail, tail);
}

}  // namespace

void normal_distribution(Index n, const float* z, float* out) {
  Few few = Few::Zero();
  for (Index begin = 0; begin < n; begin += kFew) {
    const Index count = std::min(kFew, n - begin);
    std::copy_n(z + begin, count, few.data());
    const Few share = normal_distribution(few);
    std::copy_n(share.data(), count, out + begin);
  }
}

}  // namespace nettrim
