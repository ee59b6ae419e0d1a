#include "linalg/cholesky.hpp"

#include <Eigen/Cholesky>

namespace nettrim {

bool cholesky(Part<double> lower) {
  return Eigen::LLT<Part<double>>(lower).info() == Eigen::Success;
}

void solve_from_left(const ConstPart<double>& L, Part<double> X) {
  L.triangularView<Eigen::Lower>().solveInPlace(X);
}

void solve_from_right(const ConstPart<double>& L, Part<double> X) {
  L.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(X);
}

Eigen::VectorXd solve_factored(const ConstPart<double>& L, const Eigen::VectorXd& right) {
  Eigen::VectorXd x = right;
  L.triangularView<Eigen::Lower>().solveInPlace(x);
  L.triangularView<Eigen::Lower>().transpose().solveInPlace(x);
  return x;
}

}  // namespace nettrim
