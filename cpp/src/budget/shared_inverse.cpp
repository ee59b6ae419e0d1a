#include "budget/shared_inverse.hpp"

#include <numeric>

#include "linalg/inverse.hpp"
#include "linalg/parallel.hpp"

namespace nettrim::budget {

template <class S>
SharedInverse<S>::SharedInverse(const BudgetProgram& program)
    : is_exact_(program.active == nullptr), pull_(program.pull) {}

template <class S>
void SharedInverse<S>::compute(const BudgetProgram& program, const BudgetGram& gram,
                               const Features& features, int threads) {
  const View<double> X(program.X, program.features, program.samples);
  squares_ = X.colwise().squaredNorm();
  shares_ = Eigen::VectorXd::Ones(program.samples);
  if (program.active) {
    const View<bool> active(program.active, program.outputs, program.samples);
    const Eigen::VectorXd counts = active.cast<double>().colwise().mean();
    shares_ = pull_ + (1 - pull_) * counts.array();
  }
  Matrix<double> inverse = gram.weighted(features, shares_, threads);
  invert<double>(inverse, threads);
  inverse_ = inverse.cast<S>();
}

template <class S>
Matrix<S> SharedInverse<S>::of(const OutputRows& rows) const {
  if (is_exact_) return inverse_;
  double own = 0;
  for (Index i = 0; i < rows.size(); ++i) own += (rows.is_active(i) ? 1 : pull_) * squares_[i];
  return inverse_ * static_cast<S>(shares_.dot(squares_) / own);
}

template class SharedInverse<float>;
template class SharedInverse<double>;

}  // namespace nettrim::budget
