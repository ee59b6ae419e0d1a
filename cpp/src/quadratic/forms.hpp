// The Gram matrices of a quadratic program at unit size: features of length one, weights of about
// one, in single precision; the outputs of a form side by side.
#pragma once

#include <cstdint>
#include <vector>

#include "linalg/parallel.hpp"
#include "linalg/product.hpp"
#include "nettrim/quadratic.hpp"

namespace nettrim::quadratic {

struct Form {
  View<double> given;       // the Gram matrix without the ridge
  Range outputs;            // among those side by side
  double ridge;             // absolute
  Eigen::VectorXd lengths;  // of features, the ridge included
  Matrix<float> gram;       // with features of length one, the ridge included
};

class Forms {
 public:
  Forms(const QuadraticProgram& program, int threads);

  const std::vector<Form>& all() const { return forms_; }
  Index features() const { return features_; }
  Index outputs() const { return static_cast<Index>(order_.size()); }
  int threads() const { return threads_; }

  // Outputs x features as they are given, and as they are here.
  Matrix<float> unit_weights(const Eigen::Ref<const Matrix<double>>& given) const;
  Matrix<double> given_weights(const Matrix<float>& unit) const;
  Matrix<std::uint8_t> in_order(const View<bool>& given) const;
  // Of given correlations what an output asks for, the ridge towards given weights included.
  Matrix<float> unit_moments(const Eigen::Ref<const Matrix<double>>& correlations,
                             const View<double>& prior) const;

  // body(form, output as given, its place here, thread), by all threads.
  template <class Body>
  void for_outputs(Body&& body) const {
    for (const Form& form : forms_) {
      parallel_for_uneven(form.outputs.size, threads_, [&](Index k, int thread) {
        const Index place = form.outputs.begin + k;
        body(form, order_[static_cast<std::size_t>(place)], place, thread);
      });
    }
  }

 private:
  double largest_entry(const QuadraticProgram& program) const;

  Index features_;
  int threads_;
  std::vector<Index> order_;  // the given index of each output here
  std::vector<Form> forms_;
  double unit_ = 1;  // a weight of one here, over its lengths
};

// product(form, rows of its outputs) for some features at a time, by all threads.
template <class Body>
void for_pieces(const Forms& forms, Body&& body) {
  constexpr Index kFeatures = 1024;
  const auto columns = cut(forms.features(), kFeatures, forms.threads());
  const auto n = static_cast<Index>(columns.size());
  const auto count = n * static_cast<Index>(forms.all().size());
  parallel_for_uneven(count, forms.threads(), [&](Index k, int) {
    body(static_cast<std::size_t>(k / n), columns[static_cast<std::size_t>(k % n)]);
  });
}

// left times a symmetric matrix of each form.
template <class MatrixOf>
void multiply(const Forms& forms, const Matrix<float>& left, const MatrixOf& matrix_of,
              Matrix<float>& result) {
  for_pieces(forms, [&](std::size_t k, Range features) {
    const Range rows = forms.all()[k].outputs;
    write_product(left.middleRows(rows.begin, rows.size),
                  matrix_of(k).middleCols(features.begin, features.size),
                  result.block(rows.begin, features.begin, rows.size, features.size));
  });
}

}  // namespace nettrim::quadratic
