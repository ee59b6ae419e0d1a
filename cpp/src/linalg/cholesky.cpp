#include "linalg/cholesky.hpp"

#include <Eigen/Cholesky>

namespace nettrim {

#define NETTRIM_FOR(S)                                                               \
  bool cholesky(Part<S> lower) {                                                     \
    return lower.size() == 0 || Eigen::LLT<Part<S>>(lower).info() == Eigen::Success; \
  }                                                                                  \
  void solve_from_left(const ConstPart<S>& L, Part<S> X) {                           \
    if (X.size() > 0) L.triangularView<Eigen::Lower>().solveInPlace(X);              \
  }                                                                                  \
  void solve_from_right(const ConstPart<S>& L, Part<S> X) {                          \
    if (X.size() == 0) return;                                                       \
    L.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(X); \
  }
NETTRIM_FOR(float)
NETTRIM_FOR(double)
#undef NETTRIM_FOR

Eigen::VectorXd solve_factored(const ConstPart<double>& L, const Eigen::VectorXd& right) {
  Eigen::VectorXd x = right;
  if (x.size() == 0) return x;
  L.triangularView<Eigen::Lower>().solveInPlace(x);
  L.triangularView<Eigen::Lower>().transpose().solveInPlace(x);
  return x;
}

}  // namespace nettrim
