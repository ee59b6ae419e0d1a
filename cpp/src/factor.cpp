#include "factor.hpp"

#include <Eigen/Cholesky>
#include <Eigen/QR>

#include "parallel.hpp"

namespace nettrim {

Matrix<double> inverse_of_definite(const Matrix<double>& lower, int threads) {
  const Eigen::LLT<Matrix<double>> factor(lower);
  Matrix<double> inverse = Matrix<double>::Identity(lower.rows(), lower.cols());
  const auto columns = cut(lower.cols(), 128, threads);
  parallel_for(static_cast<Index>(columns.size()), threads, [&](Index k, int) {
    const Range r = columns[static_cast<std::size_t>(k)];
    auto block = inverse.middleCols(r.begin, r.size);
    factor.solveInPlace(block);
  });
  return inverse;
}

OrthogonalBasis::OrthogonalBasis(Matrix<double> X) {
  Eigen::HouseholderQR<Eigen::Ref<Matrix<double>>> qr(X);
  coefficients_ = qr.hCoeffs();
  packed_ = std::move(X);
}

Matrix<double> OrthogonalBasis::triangle() const {
  return packed_.topRows(packed_.cols()).triangularView<Eigen::Upper>();
}

Matrix<double> OrthogonalBasis::coordinates(Matrix<double> samples) const {
  samples.applyOnTheLeft(Eigen::householderSequence(packed_, coefficients_).adjoint());
  return samples;
}

Matrix<double> OrthogonalBasis::samples(Matrix<double> coordinates) const {
  coordinates.applyOnTheLeft(Eigen::householderSequence(packed_, coefficients_));
  return coordinates;
}

}  // namespace nettrim
