#include "quadratic/forms.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace nettrim::quadratic {
namespace {

Form form_of(const double* gram, Index features, double ridge, int threads) {
  Form form{View<double>(gram, features, features), {0, 0}, 0, {}, {}};
  const double mean = form.given.diagonal().mean();
  form.ridge = ridge * (mean > 0 ? mean : 1.0);
  form.lengths = (form.given.diagonal().array() + form.ridge).sqrt();
  const Eigen::VectorXd by = form.lengths.cwiseInverse();
  form.gram.resize(features, features);
  parallel_over(cut(features, 64, threads), threads, [&](Range r, int) {
    form.gram.middleCols(r.begin, r.size) =
        (by.asDiagonal() * form.given.middleCols(r.begin, r.size) *
         by.segment(r.begin, r.size).asDiagonal())
            .template cast<float>();
  });
  form.gram.diagonal().setOnes();
  return form;
}

}  // namespace

Forms::Forms(const QuadraticProgram& p, int threads)
    : features_(p.features), threads_(threads), order_(static_cast<std::size_t>(p.outputs)) {
  std::iota(order_.begin(), order_.end(), Index{0});
  const auto number = [&](Index output) { return p.form_of ? p.form_of[output] : 0; };
  std::stable_sort(order_.begin(), order_.end(),
                   [&](Index a, Index b) { return number(a) < number(b); });
  Index begin = 0;
  for (Index k = 0; k < p.forms; ++k) {
    Index end = begin;
    while (end < p.outputs && number(order_[static_cast<std::size_t>(end)]) == k) ++end;
    forms_.push_back(form_of(p.grams + k * p.features * p.features, p.features, p.ridge, threads));
    forms_.back().outputs = {begin, end - begin};
    begin = end;
  }
  if (const double largest = largest_entry(p); largest > 0) unit_ = largest;
}

// Of weights and of what they are asked for, with features of length one.
double Forms::largest_entry(const QuadraticProgram& p) const {
  const View<double> prior(p.prior, p.outputs, p.features);
  const View<double> correlations(p.correlations, p.outputs, p.features);
  Eigen::VectorXd largest(p.outputs);
  for_outputs([&](const Form& form, Index given, Index place, int) {
    const auto lengths = form.lengths.transpose().array();
    largest[place] = std::max((prior.row(given).array() * lengths).abs().maxCoeff(),
                              (correlations.row(given).array() / lengths).abs().maxCoeff());
  });
  return largest.maxCoeff();
}

Matrix<float> Forms::unit_weights(const Eigen::Ref<const Matrix<double>>& given) const {
  Matrix<float> unit(given.rows(), given.cols());
  for_outputs([&](const Form& form, Index from, Index to, int) {
    unit.row(to) =
        (given.row(from).array() * form.lengths.transpose().array() / unit_).template cast<float>();
  });
  return unit;
}

Matrix<double> Forms::given_weights(const Matrix<float>& unit) const {
  Matrix<double> given(unit.rows(), unit.cols());
  for_outputs([&](const Form& form, Index to, Index from, int) {
    given.row(to) =
        unit.row(from).template cast<double>().array() * unit_ / form.lengths.transpose().array();
  });
  return given;
}

Matrix<std::uint8_t> Forms::in_order(const View<bool>& given) const {
  Matrix<std::uint8_t> here(given.rows(), given.cols());
  for_outputs([&](const Form&, Index from, Index to, int) {
    here.row(to) = given.row(from).cast<std::uint8_t>();
  });
  return here;
}

Matrix<float> Forms::unit_moments(const Eigen::Ref<const Matrix<double>>& correlations,
                                  const View<double>& prior) const {
  Matrix<float> unit(correlations.rows(), correlations.cols());
  for_outputs([&](const Form& form, Index from, Index to, int) {
    unit.row(to) = ((correlations.row(from) + form.ridge * prior.row(from)).array() /
                    (form.lengths.transpose().array() * unit_))
                       .template cast<float>();
  });
  return unit;
}

}  // namespace nettrim::quadratic
