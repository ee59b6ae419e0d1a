// Tails of the normal distribution: erfcx, the complementary error function times exp(x^2), over
// t = 1 / (1 + 0.4 x) is a polynomial in 2 t - 1, as near as its degree allows, for all x >= 0.
#include "nettrim/gelu.hpp"

#include <algorithm>
#include <iterator>

namespace nettrim {
namespace {

constexpr Index kFew = 64;  // numbers, which registers and the nearest cache hold
template <class S>
using Few = Eigen::Array<S, kFew, 1>;

// 0.4 over the root of two, 1 over that of two pi.
constexpr double kScale = 0.28284271247461901, kPeak = 0.39894228040143268;

// Terms of the polynomial that meets half of it in Chebyshev's points.
template <class S>
struct Numbers;
template <>
struct Numbers<float> {
  static constexpr float terms[] = {2.10806364e-01F,  1.60930585e-01F, 9.07833788e-02F,
                                    3.42472905e-02F,  5.66480983e-03F, -1.66736408e-03F,
                                    -9.35827706e-04F, 7.05485751e-05F, 1.00286104e-04F};
};
template <>
struct Numbers<double> {
  static constexpr double terms[] = {
      2.1080636406114339e-01,  1.6093036988785692e-01,  9.0782823329659576e-02,
      3.4250229047221428e-02,  5.6723100257673811e-03,  -1.6786088180129853e-03,
      -9.6375710893717740e-04, 8.7841238801081504e-05,  1.4053888330600237e-04,
      -1.1659341703070200e-05, -2.2522070642607617e-05, 3.8993112886116768e-06,
      3.6533729550802067e-06,  -1.3365215702793692e-06, -4.7726987001411076e-07,
      3.7440845763206021e-07,  1.4861637395937977e-08,  -7.5681983645989499e-08,
      1.2904020925540036e-08,  8.1148695864649131e-09,  -2.6342659981564855e-09};
};
// Of a tail over the density exp(-z^2 / 2).
template <class S>
Few<S> tail_over_density(const Few<S>& z) {
  const Few<S> t = (1 + S(kScale) * z.abs()).inverse();
  const Few<S> s = 2 * t - 1;
  Few<S> polynomial = Few<S>::Zero();
  for (auto term = std::rbegin(Numbers<S>::terms); term != std::rend(Numbers<S>::terms); ++term) {
    polynomial = polynomial * s + *term;
  }
  return polynomial * t;
}

}  // namespace

template <class S>
void gelu(Index n, const S* z, S* value, S* slope) {
  Few<S> few = Few<S>::Zero();
  for (Index begin = 0; begin < n; begin += kFew) {
    const Index count = std::min(kFew, n - begin);
    std::copy_n(z + begin, count, few.data());
    const Few<S> density = (S(-0.5) * few.square()).exp();
    const Few<S> tail = tail_over_density(few) * density;
    const Few<S> share = (few > 0).select(1 - tail, tail);
    const Few<S> values = few * share;
    std::copy_n(values.data(), count, value + begin);
    if (slope == nullptr) continue;
    const Few<S> slopes = share + S(kPeak) * few * density;
    std::copy_n(slopes.data(), count, slope + begin);
  }
}

template void gelu(Index, const float*, float*, float*);
template void gelu(Index, const double*, double*, double*);

}  // namespace nettrim
