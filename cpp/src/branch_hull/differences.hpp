// Differences of neighbouring pixels, and the linear system of one who smooths with them.
#pragma once

#include <cmath>
#include <utility>

#include "linalg/product.hpp"

namespace nettrim::branch_hull {

// width x height: a column is a row of the caller's array.
using Image = Matrix<double>;

struct Differences {
  Image across, down;  // (width - 1) x height, width x (height - 1)

  static Differences of(const Image& image) {
    const Index w = image.rows(), h = image.cols();
    return {image.bottomRows(w - 1) - image.topRows(w - 1),
            image.rightCols(h - 1) - image.leftCols(h - 1)};
  }

  Image adjoint() const {
    const Index w = down.rows(), h = across.cols();
    Image image = Image::Zero(w, h);
    image.topRows(w - 1) -= across;
    image.bottomRows(w - 1) += across;
    image.leftCols(h - 1) -= down;
    image.rightCols(h - 1) += down;
    return image;
  }

  template <class Function>
  Differences with(const Differences& other, Function&& f) const {
    return {across.binaryExpr(other.across, f), down.binaryExpr(other.down, f)};
  }

  double sum_of_sizes() const { return across.cwiseAbs().sum() + down.cwiseAbs().sum(); }
  double squared_norm() const { return across.squaredNorm() + down.squaredNorm(); }
};

// Solves (1 + G'G) x = b, with G the differences: cosines diagonalise it.
class Smoother {
 public:
  Smoother(Index width, Index height)
      : of_rows_(cosines(width)),
        of_columns_(cosines(height)),
        inverse_((1 + (frequencies(width).replicate(1, height) +
                       frequencies(height).transpose().replicate(width, 1))
                          .array())
                     .inverse()
                     .matrix()) {}

  Image operator()(const Image& b) const {
    const Image spectrum = product(product(of_rows_, b), of_columns_.transpose());
    return product(product(of_rows_.transpose(), spectrum.cwiseProduct(inverse_)), of_columns_);
  }

 private:
  static constexpr double kPi = 3.14159265358979323846;

  static Eigen::VectorXd frequencies(Index n) {
    const auto k = Eigen::ArrayXd::LinSpaced(n, 0, static_cast<double>(n - 1));
    return 4 * (k * (kPi / static_cast<double>(2 * n))).sin().square();
  }

  static Matrix<double> cosines(Index n) {
    Matrix<double> c(n, n);
    const double unit = std::sqrt(2 / static_cast<double>(n));
    for (Index j = 0; j < n; ++j) {
      for (Index k = 0; k < n; ++k) {
        const auto turns = static_cast<double>(k * (2 * j + 1) % (4 * n));
        c(k, j) = unit * std::cos(kPi * turns / static_cast<double>(2 * n));
      }
    }
    c.row(0) /= std::sqrt(2.0);
    return c;
  }

  Matrix<double> of_rows_, of_columns_, inverse_;
};

}  // namespace nettrim::branch_hull
